use crate::received;
use mutirao::Array;
use std::thread;
use std::time::Duration;

#[test]
fn every_width_comes_back() {
    macro_rules! round_trip {
        ($($element:ty: $value:expr),*) => { $({
            let array = Array::<$element>::new(10).unwrap();
            assert_eq!(array.len(), 10);
            assert_eq!(array.get(9).unwrap(), <$element>::default());
            array.set(9, $value).unwrap();
            let other = Array::<$element>::attach(&received(array.segment())).unwrap();
            assert_eq!(other.get(9).unwrap(), $value);
            assert_eq!(other.get(8).unwrap(), <$element>::default(), "the neighbour is untouched");
            let mut out = [<$element>::default(); 3];
            other.copy_to(7, &mut out).unwrap();
            assert_eq!(out, [<$element>::default(), <$element>::default(), $value]);
            other.copy_from(0, &[$value; 4]).unwrap();
            assert_eq!(array.get(3).unwrap(), $value);
            assert_eq!(array.get(4).unwrap(), <$element>::default());
        })* };
    }
    round_trip!(u8: 200, i8: -7, u16: 60_000, i16: -300, u32: u32::MAX, i32: -1, u64: u64::MAX, i64: i64::MIN);
    round_trip!(f32: 1.5, f64: -2.25, [u8; 3]: [1, 2, 3], [u64; 3]: [7, 8, 9], u128: u128::MAX, [u8; 2]: [4, 5]);
}

#[test]
fn an_array_is_made_of_a_slice_or_of_one_value() {
    let array = Array::from_slice(&[true, false, true]).unwrap();
    assert!(array.get(0).unwrap() && !array.get(1).unwrap());
    assert_eq!(Array::filled(3, 'ã').unwrap().get(2).unwrap(), 'ã');
}

#[test]
fn no_addition_of_any_thread_is_lost() {
    let (bytes, halves, words, doubles) = (
        Array::<u8>::new(8).unwrap(),
        Array::<i16>::new(8).unwrap(),
        Array::<u32>::new(8).unwrap(),
        Array::<i64>::new(8).unwrap(),
    );
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..8_000 {
                    bytes.fetch_add(i % 8, 1).unwrap();
                    halves.fetch_add(i % 8, 2).unwrap();
                    words.fetch_add(i % 8, 3).unwrap();
                    doubles.fetch_sub(i % 8, 4).unwrap();
                }
            });
        }
    });
    for i in 0..8 {
        assert_eq!(bytes.get(i).unwrap(), (4000 % 256) as u8);
        assert_eq!(halves.get(i).unwrap(), 8000);
        assert_eq!(words.get(i).unwrap(), 12_000);
        assert_eq!(doubles.get(i).unwrap(), -16_000);
    }
}

#[test]
fn an_element_of_several_words_is_never_torn() {
    let array = Array::<[u64; 5]>::new(3).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| (0..20_000).for_each(|n| array.set(1, [n; 5]).unwrap()));
        scope.spawn(|| {
            for _ in 0..20_000 {
                let seen = array.get(1).unwrap();
                assert!(seen.iter().all(|n| *n == seen[0]), "torn: {seen:?}");
            }
        });
    });
}

#[test]
fn a_view_shows_its_range() {
    let array = Array::from_slice(&[1.0_f64, 2.0, 3.0, 4.0, 5.0]).unwrap();
    let view = array.view(1..=3).unwrap();
    assert_eq!((view.len(), view.load(0), view.load(3)), (3, Some(2.0), None));
    assert_eq!(view.iter().collect::<Vec<_>>(), [2.0, 3.0, 4.0]);
    let mut rest = view.iter();
    rest.next();
    assert_eq!((rest.len(), rest.sum::<f64>()), (2, 7.0));
    view.store(2, 40.0).unwrap();
    assert!(view.store(3, 0.0).unwrap_err().is_invalid());
    assert_eq!(array.get(3).unwrap(), 40.0);
    let mut out = [0.0; 9];
    assert_eq!(view.copy_to(&mut out), 3);
    assert_eq!(out[..4], [2.0, 3.0, 40.0, 0.0]);
    assert_eq!(array.view(..).unwrap().len(), 5);
    assert!(array.view(5..).unwrap().is_empty());
    let bytes = Array::from_slice(b"mutirao").unwrap();
    assert_eq!(
        bytes.view(..).unwrap().into_iter().map(u32::from).sum::<u32>(),
        b"mutirao".iter().map(|b| u32::from(*b)).sum()
    );
    assert_eq!(Array::from_slice(&[1_u16, 2]).unwrap().view(..).unwrap().iter().sum::<u16>(), 3);
    assert_eq!(Array::from_slice(&[1_i32, -2]).unwrap().view(..).unwrap().iter().sum::<i32>(), -1);
}

#[test]
fn nothing_outside_is_touched() {
    let array = Array::<u32>::new(4).unwrap();
    assert!(array.get(4).unwrap_err().is_invalid());
    assert!(array.set(usize::MAX, 1).unwrap_err().is_invalid());
    assert!(array.fetch_add(4, 1).unwrap_err().is_invalid());
    assert!(array.copy_from(1, &[9; 4]).unwrap_err().is_invalid());
    assert!(array.copy_to(usize::MAX, &mut [0; 4]).unwrap_err().is_invalid());
    assert!(array.view(3..9).unwrap_err().is_invalid());
    assert!(array.view(..=usize::MAX).unwrap_err().is_invalid());
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = array.view(3..1);
    assert!(reversed.unwrap_err().is_invalid());
    assert_eq!(array.view(..).unwrap().iter().sum::<u32>(), 0, "a refused copy has copied nothing");
    let wide = Array::<[u64; 2]>::new(2).unwrap();
    assert!(wide.get(2).unwrap_err().is_invalid());
    assert!(wide.view(..).unwrap_err().is_invalid());
}

#[test]
fn impossible_lengths_are_refused() {
    assert!(Array::<u64>::new(0).unwrap_err().is_invalid());
    assert!(Array::<u8>::from_slice(&[]).unwrap_err().is_invalid());
    assert!(Array::<()>::new(5).unwrap_err().is_invalid());
    assert!(Array::<u64>::new(usize::MAX).unwrap_err().is_invalid());
    assert!(Array::<[u64; 3]>::new(usize::MAX / 8).unwrap_err().is_invalid());
    let huge = Array::<u64>::new(1 << 42).unwrap_err();
    assert!(huge.is_out_of_memory() || huge.is_invalid(), "{huge:?}");
}

#[test]
fn another_type_is_refused() {
    let array = Array::<f64>::new(4).unwrap();
    let error = Array::<u64>::attach(array.segment()).unwrap_err();
    assert!(error.is_wrong_type() && error.to_string().contains("f64"), "{error}");
    assert!(mutirao::Value::<f64>::attach(array.segment()).unwrap_err().is_wrong_type());
}

#[test]
fn ranges_exclude_where_they_overlap() {
    let array = Array::<u32>::new(100).unwrap();
    let other = Array::<u32>::attach(&received(array.segment())).unwrap();
    let low = array.write(..50).unwrap();
    let high = other.try_write(50..).unwrap();
    assert_eq!((low.range(), high.range(), high.len()), (0..50, 50..100, 50));
    assert!(other.try_read(49..51).unwrap_err().is_would_block());
    assert!(other.read_timeout(..=0, Duration::from_millis(5)).unwrap_err().is_timeout());
    drop(low);
    let reader = other.try_read(..10).unwrap();
    let again = array.read(5..50).unwrap();
    assert!(array.try_write(9..10).unwrap_err().is_would_block());
    assert!(array.write_timeout(..1, Duration::from_millis(5)).unwrap_err().is_timeout());
    // Nobody has asked those.
    array.set(3, 7).unwrap();
    assert_eq!((reader.get(3).unwrap(), reader.owner_died()), (7, false));
    assert!(array.try_write(10..10).unwrap().is_empty(), "nothing overlaps nothing");
    drop((reader, again, high));
    assert!(array.try_write(..).is_ok());
    assert!(format!("{:?}", array.segment().inspect()).contains("ranges []"));
}

#[test]
fn a_range_is_read_and_written_by_its_own_indices() {
    let array = Array::<[u64; 3]>::new(10).unwrap();
    let mut guard = array.write(4..8).unwrap();
    guard.fill([1; 3]).unwrap();
    guard.copy_from(1, &[[2; 3], [3; 3]]).unwrap();
    guard.set(3, [4; 3]).unwrap();
    assert!(guard.set(4, [9; 3]).unwrap_err().is_invalid());
    assert!(guard.copy_from(3, &[[9; 3]; 2]).unwrap_err().is_invalid());
    assert!(guard.copy_from(usize::MAX, &[[9; 3]; 2]).unwrap_err().is_invalid());
    assert!(guard.get(usize::MAX).unwrap_err().is_invalid() && guard.view().unwrap_err().is_invalid());
    let mut out = [[0; 3]; 4];
    guard.copy_to(0, &mut out).unwrap();
    assert_eq!(out, [[1; 3], [2; 3], [3; 3], [4; 3]]);
    drop(guard);
    assert_eq!((array.get(3).unwrap(), array.get(8).unwrap()), ([0; 3], [0; 3]));
    assert!(array.read(8..11).unwrap_err().failed().unwrap().is_invalid());
    let numbers = Array::from_slice(&[1_u16, 2, 3]).unwrap();
    assert_eq!(numbers.read(1..).unwrap().view().unwrap().iter().sum::<u16>(), 5);
}

#[test]
fn changes_under_a_range_are_seen_together() {
    let array = Array::<u64>::new(64).unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for n in 0..2_000 {
                    let start = n % 32;
                    let mut guard = array.write(start..start + 32).unwrap();
                    let next = guard.view().unwrap().iter().max().unwrap() + 1;
                    guard.fill(next).unwrap();
                }
            });
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let guard = array.read(31..33).unwrap();
                    assert_eq!(guard.get(0).unwrap(), guard.get(0).unwrap(), "changed behind a reader's back");
                }
            });
        }
    });
    assert!(array.try_write(..).is_ok(), "all given back");
}

#[test]
fn more_ranges_than_fit_are_refused_until_one_is_given_back() {
    let array = Array::<u8>::new(100).unwrap();
    let mut held: Vec<_> = (0..64).map(|n| array.read(n..n + 1).unwrap()).collect();
    let error = array.read(70..71).unwrap_err();
    assert!(error.failed().unwrap().is_exhausted(), "{error}");
    held.pop();
    assert!(array.try_write(70..71).is_ok());
}
