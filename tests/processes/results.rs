//! Arguments, results, and every way to end without one.

use mutirao::{Exit, Process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

use crate::stage::{Meeting, Watchdog, report_to};

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
enum Job {
    Count { from: u32, to: u32 },
    Names(BTreeMap<String, Vec<u8>>),
}

fn echo<T>(value: T) -> T {
    value
}

#[test]
fn arguments_and_results_travel_whole() {
    let _watchdog = Watchdog::new("arguments_and_results_travel_whole");
    let jobs = vec![
        Job::Count { from: 1, to: u32::MAX },
        Job::Names(BTreeMap::from([("a".into(), vec![1, 2]), ("ç".into(), vec![])])),
    ];
    assert_eq!(Process::spawn(echo, jobs.clone()).unwrap().join().unwrap(), jobs);
    Process::spawn(|()| (), ()).unwrap().join().unwrap();
    assert_eq!(Process::spawn(|(a, b): (u32, u32)| a + b, (2, 3)).unwrap().join().unwrap(), 5);
    assert_eq!(
        Process::spawn(|n: Option<u8>| n.ok_or("none".to_string()), None).unwrap().join().unwrap(),
        Err("none".into())
    );
}

/// `MUTIRAO_MEGABYTES=1024` makes it a gigabyte.
#[test]
fn many_megabytes_travel_both_ways() {
    let _watchdog = Watchdog::new("many_megabytes_travel_both_ways");
    let megabytes = std::env::var("MUTIRAO_MEGABYTES").map_or(50, |number| number.parse().unwrap());
    let big: String = "mutirão ".repeat((megabytes << 20) / 9);
    let back = Process::spawn(echo::<String>, big.clone()).unwrap().join().unwrap();
    assert!(back == big);
}

/// The memory that there is not is asked for before it is touched.
#[test]
fn arguments_beyond_all_memory_are_an_error() {
    let _watchdog = Watchdog::new("arguments_beyond_all_memory_are_an_error");
    /// Says that it is text without end.
    struct Endless;
    impl Serialize for Endless {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeTuple;
            let piece = "x".repeat(1 << 20);
            let mut pieces = serializer.serialize_tuple(1 << 30)?;
            (0..1_u64 << 30).try_for_each(|_| pieces.serialize_element(&piece))?;
            pieces.end()
        }
    }
    impl<'de> Deserialize<'de> for Endless {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }
    // A limit of the file size stands for the memory of the machine.
    let spawn = |(): ()| Process::spawn(|_: Endless| (), Endless).map(drop).unwrap_err().is_out_of_memory();
    let options = Process::options().limit(mutirao::Resource::FileSize, 100 << 20);
    assert!(options.spawn(spawn, ()).unwrap().join().unwrap());
}

#[test]
fn a_panic_is_a_value_with_its_message() {
    let _watchdog = Watchdog::new("a_panic_is_a_value_with_its_message");
    let mut child: Process = Process::spawn(|n: u32| panic!("{n} is too many"), 7).unwrap();
    let pid = child.id();
    let error = child.join_timeout(Duration::from_secs(3600)).unwrap_err();
    assert!(error.is_child_failure());
    let Exit::Panicked { message, location: Some(location), .. } = child.try_exit().unwrap() else {
        panic!("no panic with a place");
    };
    assert_eq!(message, "7 is too many");
    assert!(location.starts_with(file!()), "{location}");
    assert_eq!(error.to_string(), format!("the child process {pid} panicked at {location}: 7 is too many"));
    assert!(!child.is_alive());
}

#[test]
fn an_exit_code_is_a_value() {
    let _watchdog = Watchdog::new("an_exit_code_is_a_value");
    for code in [0, 3] {
        let mut child: Process<u32> = Process::spawn(|code| std::process::exit(code), code).unwrap();
        let error = child.join_timeout(Duration::from_secs(3600)).unwrap_err();
        assert!(error.to_string().ends_with(&format!("exited with code {code}")), "{error}");
        assert_eq!(child.try_exit().unwrap(), Exit::Exited(code));
    }
}

#[test]
fn a_signal_is_a_value() {
    let _watchdog = Watchdog::new("a_signal_is_a_value");
    let child: Process = Process::spawn(|()| std::process::abort(), ()).unwrap();
    assert!(child.join().unwrap_err().to_string().ends_with("was killed by signal 6 (SIGABRT)"));

    let mut child = Process::spawn(sleep_for_ever, ()).unwrap();
    assert!(child.is_alive());
    child.kill().unwrap();
    let error = child.join_timeout(Duration::from_secs(3600)).unwrap_err();
    assert!(error.to_string().ends_with("was killed by signal 9 (SIGKILL)"), "{error}");
    assert_eq!(child.try_exit().unwrap(), Exit::Killed { signal: 9, out_of_memory: false });
    child.kill().unwrap(); // nothing to end any more
}

fn sleep_for_ever((): ()) {
    loop {
        std::thread::park();
    }
}

#[test]
fn a_join_gives_up_and_can_be_tried_again() {
    let _watchdog = Watchdog::new("a_join_gives_up_and_can_be_tried_again");
    let meeting = Meeting::new("try-again");
    let mut child = Process::spawn(
        |path| {
            let stream = report_to(path, "here");
            crate::stage::wait_for_hang_up(stream);
            42
        },
        meeting.path(),
    )
    .unwrap();
    let (stream, _) = meeting.next();
    assert!(child.try_join().unwrap_err().is_would_block());
    assert!(child.join_timeout(Duration::from_millis(20)).unwrap_err().is_timeout());
    assert!(child.try_exit().unwrap_err().is_would_block());
    drop(stream);
    assert_eq!(child.join_timeout(Duration::MAX).unwrap(), 42);
    assert!(child.try_join().unwrap_err().is_invalid());
}

#[test]
fn what_can_not_be_decoded_is_reported() {
    let _watchdog = Watchdog::new("what_can_not_be_decoded_is_reported");
    #[derive(Serialize)]
    struct Torn(u8);
    impl<'de> Deserialize<'de> for Torn {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Err(serde::de::Error::custom("torn"))
        }
    }
    let error = Process::spawn(|torn: Torn| u32::from(torn.0), Torn(1)).unwrap().join().unwrap_err();
    assert!(error.is_child_failure() && error.to_string().contains("the arguments could not be"), "{error}");
    assert!(Process::spawn(|n: u8| Torn(n), 1).unwrap().join().err().unwrap().is_codec());
}

#[test]
fn std_works_in_a_child_of_a_test() {
    let _watchdog = Watchdog::new("std_works_in_a_child_of_a_test");
    let work = |()| {
        println!("a line from a child");
        let sum: u32 = std::thread::scope(|s| (0..4).map(|n| s.spawn(move || n)).map(|t| t.join().unwrap()).sum());
        let caught = std::panic::catch_unwind(|| panic!("caught")).is_err();
        (sum, caught, std::env::args().count() > 0, std::env::var_os("MUTIRAO_CHILD").is_none())
    };
    assert_eq!(Process::spawn(work, ()).unwrap().join().unwrap(), (6, true, true, true));
}

#[test]
fn a_child_has_the_variables_it_was_given() {
    let _watchdog = Watchdog::new("a_child_has_the_variables_it_was_given");
    let options = Process::options().env("MUTIRAO_TEST_COLOUR", "blue");
    let child = options.spawn(|name: String| std::env::var(name).ok(), "MUTIRAO_TEST_COLOUR".into()).unwrap();
    assert_eq!(child.join().unwrap().as_deref(), Some("blue"));
}
