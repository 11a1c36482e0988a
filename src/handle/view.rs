//! A range of an `Array`, checked once: what a loop over many elements goes through.

use crate::error::{Error, Result};
use crate::handle::integer::{bits32_of, bits64_of, from_bits};
use crate::segment::access::{Shared, prefetch};
use crate::segment::plain::PlainData;
use crate::sync::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use core::fmt;
use core::marker::PhantomData;
use zerocopy::FromBytes;

/// A range of an [`Array`](crate::Array), read and written by relaxed atomics.
///
/// A neighbour may write any element while this one looks, which is why it is not a slice. Going through it with
/// [`iter`](ArrayView::iter) costs what a slice costs.
///
/// # Memory ordering
///
/// Relaxed: what was written elsewhere is visible here when something else ordered it, such as a lock or a
/// queue.
///
/// # Examples
///
/// ```
/// let samples = mutirao::Array::from_slice(&[1.0_f64, 2.0, 3.0, 4.0])?;
/// let middle = samples.view(1..3)?;
/// assert_eq!(middle.iter().sum::<f64>(), 5.0);
/// middle.store(0, 7.0)?;
/// assert_eq!(samples.get(1)?, 7.0);
/// # Ok::<(), mutirao::Error>(())
/// ```
pub struct ArrayView<'a, T> {
    elements: Elements<'a>,
    _type: PhantomData<fn() -> T>,
}

/// The elements of an array, borrowed.
pub(crate) struct Elements<'a> {
    pub bytes: &'a [AtomicU8],
    pub halves: &'a [AtomicU16],
    pub words: &'a [AtomicU32],
    pub doubles: &'a [AtomicU64],
}

impl<'a, T: PlainData + FromBytes> ArrayView<'a, T> {
    pub(crate) fn of(elements: Elements<'a>) -> Self {
        Self { elements, _type: PhantomData }
    }

    /// How many elements it shows.
    pub fn len(&self) -> usize {
        match size_of::<T>() {
            1 => self.elements.bytes.len(),
            2 => self.elements.halves.len(),
            4 => self.elements.words.len(),
            _ => self.elements.doubles.len(),
        }
    }

    /// Whether it shows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index` of the range; `None` outside of it.
    #[inline]
    pub fn load(&self, index: usize) -> Option<T> {
        Some(from_bits(match size_of::<T>() {
            1 => u64::from(self.elements.bytes.get(index)?.load(Ordering::Relaxed)),
            2 => u64::from(self.elements.halves.get(index)?.load(Ordering::Relaxed)),
            4 => u64::from(self.elements.words.get(index)?.load(Ordering::Relaxed)),
            _ => self.elements.doubles.get(index)?.load(Ordering::Relaxed),
        }))
    }

    /// Replaces the element at `index` of the range.
    ///
    /// # Errors
    ///
    /// `is_invalid` for an index outside of it.
    #[inline]
    pub fn store(&self, index: usize, value: T) -> Result<()> {
        let outside = || Error::invalid(format!("element {index}"), format!("the view has {}", self.len()));
        match size_of::<T>() {
            1 => self.elements.bytes.get(index).ok_or_else(outside)?.store(bits32_of(&value) as u8, Ordering::Relaxed),
            2 => {
                self.elements.halves.get(index).ok_or_else(outside)?.store(bits32_of(&value) as u16, Ordering::Relaxed)
            }
            4 => self.elements.words.get(index).ok_or_else(outside)?.store(bits32_of(&value), Ordering::Relaxed),
            _ => self.elements.doubles.get(index).ok_or_else(outside)?.store(bits64_of(&value), Ordering::Relaxed),
        }
        Ok(())
    }

    /// The elements in order, each read when its turn comes.
    #[inline]
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { view: self, next: 0, end: self.len() }
    }

    /// Copies out as many elements as both have; returns how many.
    pub fn copy_to(&self, into: &mut [T]) -> usize {
        self.iter().zip(into).map(|(value, to)| *to = value).count()
    }
}

impl<'a, T: PlainData + FromBytes> IntoIterator for &'a ArrayView<'_, T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// The elements of an [`ArrayView`] in order.
pub struct Iter<'a, T> {
    view: &'a ArrayView<'a, T>,
    next: usize,
    end: usize,
}

impl<T: PlainData + FromBytes> Iterator for Iter<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.next == self.end {
            return None;
        }
        let value = self.view.load(self.next);
        self.next += 1;
        value
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.next;
        (left, Some(left))
    }

    /// The loop behind `sum`, `for_each` and the like, without a question per element.
    #[inline]
    fn fold<B, F: FnMut(B, T) -> B>(self, init: B, mut f: F) -> B {
        let (elements, range) = (&self.view.elements, self.next..self.end);
        let mut narrow = |acc, bits: u32| f(acc, from_bits(u64::from(bits)));
        match size_of::<T>() {
            1 => by_lines(&elements.bytes[range], init, |acc, cell| narrow(acc, cell.load(Ordering::Relaxed).into())),
            2 => by_lines(&elements.halves[range], init, |acc, cell| narrow(acc, cell.load(Ordering::Relaxed).into())),
            4 => by_lines(&elements.words[range], init, |acc, cell| narrow(acc, cell.load(Ordering::Relaxed))),
            _ => by_lines(&elements.doubles[range], init, |acc, cell| f(acc, from_bits(cell.load(Ordering::Relaxed)))),
        }
    }
}

/// Goes through the cells a cache line at a time, asking for the line that is 8 KiB ahead: 64 bytes at a time,
/// what is measured is the memory and not the way.
#[inline]
fn by_lines<C: Shared, B>(cells: &[C], init: B, mut f: impl FnMut(B, &C) -> B) -> B {
    let (line, ahead) = (64 / size_of::<C>(), 8192 / size_of::<C>());
    cells.chunks(line).enumerate().fold(init, |acc, (i, chunk)| {
        prefetch(cells, i * line + ahead);
        chunk.iter().fold(acc, &mut f)
    })
}

impl<T: PlainData + FromBytes> ExactSizeIterator for Iter<'_, T> {}

impl<T: PlainData + FromBytes> fmt::Debug for ArrayView<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrayView").field("type", &core::any::type_name::<T>()).field("len", &self.len()).finish()
    }
}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("left", &(self.end - self.next)).finish()
    }
}
