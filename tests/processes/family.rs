//! Parents and children that run: what they know of each other, what they say, and who hears of whose end.

use mutirao::{Process, Value};
use std::future::Future;
use std::task::Context;
use std::time::Duration;

use crate::future::{block_on, waker};
use crate::stage::{Meeting, Watchdog, report_to, wait_for_hang_up};

#[test]
fn a_child_knows_itself_and_its_parent() {
    let _watchdog = Watchdog::new("a_child_knows_itself_and_its_parent");
    let look = |(): ()| {
        let parent = Process::parent().unwrap();
        assert!(parent.is_alive() && !parent.death().has_come());
        (Process::current().pid(), parent.pid())
    };
    let child = Process::spawn(look, ()).unwrap();
    let pid = child.pid();
    assert_eq!(child.join().unwrap(), (pid, std::process::id()));
    assert!(Process::parent().is_none());
}

#[test]
fn a_running_child_gets_values_and_handles() {
    let _watchdog = Watchdog::new("a_running_child_gets_values_and_handles");
    let work = |(): ()| {
        let parent = Process::parent().unwrap();
        assert!(parent.try_recv::<u8>().unwrap_err().is_would_block());
        assert!(parent.recv_timeout::<u8>(Duration::from_millis(1)).unwrap_err().is_timeout());
        println!("ready");
        let words: Vec<String> = parent.recv().unwrap();
        let (number, value): (u64, Value<u64>) = parent.recv().unwrap();
        value.fetch_add(number);
        let big: String = parent.recv().unwrap();
        let closed = parent.recv::<u8>().unwrap_err();
        (words, big.len(), closed.is_disconnected())
    };
    let mut child = Process::options().stdout(mutirao::Stdio::piped()).spawn(work, ()).unwrap();
    std::io::Read::read_exact(&mut child.take_stdout().unwrap(), &mut [0; 5]).unwrap();
    let value = Value::new(40_u64).unwrap();
    child.send(&vec!["a", "b"]).unwrap();
    child.send(&(2_u64, &value)).unwrap();
    child.send(&"x".repeat(5_000_000)).unwrap();
    child.hang_up();
    assert_eq!(child.join().unwrap(), (vec!["a".to_string(), "b".to_string()], 5_000_000, true));
    assert_eq!(value.load(), 42);
}

#[test]
fn sending_waits_for_a_slow_child_and_not_for_a_dead_one() {
    let _watchdog = Watchdog::new("sending_waits_for_a_slow_child_and_not_for_a_dead_one");
    let meeting = Meeting::new("slow");
    let work = |path| {
        wait_for_hang_up(report_to(path, "here"));
        let parent = Process::parent().unwrap();
        (0..1000).map(|_| parent.recv::<u32>().unwrap()).sum::<u32>()
    };
    let child = Process::spawn(work, meeting.path()).unwrap();
    let (stream, _) = meeting.next();
    let mut sent = 0_u32;
    // It does not take any: at some time there is no room.
    while child.send_timeout(&sent, Duration::from_millis(20)).is_ok() {
        sent += 1;
        assert!(sent < 1000);
    }
    drop(stream);
    for n in sent..1000 {
        child.send(&n).unwrap();
    }
    assert_eq!(child.join().unwrap(), 999 * 1000 / 2);

    let gone = Process::spawn(|(): ()| (), ()).unwrap();
    gone.death().wait().unwrap();
    while gone.send(&1_u32).is_ok() {}
    assert!(gone.send(&1_u32).unwrap_err().is_disconnected());
}

#[test]
fn what_is_sent_as_another_type_is_an_error() {
    let _watchdog = Watchdog::new("what_is_sent_as_another_type_is_an_error");
    let work = |(): ()| Process::parent().unwrap().recv::<String>().unwrap_err().is_codec();
    let child = Process::spawn(work, ()).unwrap();
    child.send(&(9_u8, 0xff_u8)).unwrap();
    assert!(child.join().unwrap());
}

#[test]
fn a_death_is_a_future_without_a_runtime() {
    let _watchdog = Watchdog::new("a_death_is_a_future_without_a_runtime");
    let meeting = Meeting::new("future");
    let work = |path| wait_for_hang_up(report_to(path, "here"));
    let children: Vec<_> = (0..3).map(|_| Process::spawn(work, meeting.path()).unwrap()).collect();
    let streams: Vec<_> = children.iter().map(|_| meeting.next().0).collect();
    let deaths: Vec<_> = children.iter().flat_map(|child| [child.death(), child.death()]).collect();
    let mut forgotten = Box::pin(children[0].death());
    let waker = waker();
    assert!(forgotten.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(forgotten);
    let waiters: Vec<_> = deaths.into_iter().map(|death| std::thread::spawn(|| block_on(death))).collect();
    drop(streams);
    for waiter in waiters {
        waiter.join().unwrap();
    }
    for child in children {
        assert!(!child.is_alive());
        block_on(child.death());
        child.join().unwrap();
    }
}

#[test]
fn a_death_is_told_after_its_handle_was_dropped() {
    let _watchdog = Watchdog::new("a_death_is_told_after_its_handle_was_dropped");
    let meeting = Meeting::new("dropped-handle");
    let work = |path| wait_for_hang_up(report_to(path, "here"));
    let child = Process::spawn(work, meeting.path()).unwrap();
    let (stream, _) = meeting.next();
    let death = child.death();
    assert!(death.wait_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
    drop(child);
    assert!(!death.has_come());
    drop(stream);
    block_on(death.clone());
    death.wait().unwrap();
}

/// Whoever detaches its child and ends at once leaves it alive: the word is found before the end is.
#[test]
fn a_child_may_be_detached_in_the_last_moment() {
    let _watchdog = Watchdog::new("a_child_may_be_detached_in_the_last_moment");
    let meeting = Meeting::new("last-moment");
    let parent = |path: std::path::PathBuf| {
        let work = |path| wait_for_hang_up(report_to(path, "here"));
        Process::spawn(work, path).unwrap().detach();
        std::process::abort();
    };
    for _ in 0..20 {
        let parent: Process = Process::spawn(parent, meeting.path()).unwrap();
        assert!(parent.join().unwrap_err().is_child_failure());
        let (stream, _) = meeting.next();
        drop(stream);
    }
}
