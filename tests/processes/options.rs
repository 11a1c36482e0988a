//! What a child is spawned with, as it finds it.

use mutirao::{Exit, Process, Resource, Stdio};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use crate::stage::Watchdog;

#[test]
fn a_child_is_called_by_its_name() {
    let _watchdog = Watchdog::new("a_child_is_called_by_its_name");
    let names = |(): ()| {
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        let line = std::fs::read("/proc/self/cmdline").unwrap();
        let first = String::from_utf8(line.split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap();
        (comm.trim_end().to_string(), first, Process::current().name().to_string())
    };
    let child = Process::options().name("a rather long name").spawn(names, ()).unwrap();
    assert_eq!(child.name(), Some("a rather long name"));
    let whole = "a rather long name".to_string();
    assert_eq!(child.join().unwrap(), ("a rather long n".into(), whole.clone(), whole));

    let program = std::env::args().next().unwrap();
    let file = program.rsplit('/').next().unwrap().to_string();
    let comm: String = file.chars().take(15).collect();
    assert_eq!(Process::spawn(names, ()).unwrap().join().unwrap(), (comm, program, file));
}

#[test]
fn names_and_variables_that_can_not_be_are_refused() {
    let _watchdog = Watchdog::new("names_and_variables_that_can_not_be_are_refused");
    let nothing = |(): ()| ();
    assert!(Process::options().name("a\0b").spawn(nothing, ()).unwrap_err().is_invalid());
    assert!(Process::options().env("a=b", "c").spawn(nothing, ()).unwrap_err().is_invalid());
    assert!(Process::options().env("", "c").spawn(nothing, ()).unwrap_err().is_invalid());
    assert!(Process::options().env("a", "c\0").spawn(nothing, ()).unwrap_err().is_invalid());
    let error = Process::options().name("lost").current_dir("/no/such/place").spawn(nothing, ()).unwrap_err();
    assert!(error.to_string().contains("`lost`"), "{error}");
}

#[test]
fn a_child_has_the_environment_it_was_given() {
    let _watchdog = Watchdog::new("a_child_has_the_environment_it_was_given");
    let look = |(): ()| {
        let mut all: Vec<_> = std::env::vars().collect();
        all.sort();
        all
    };
    let only = Process::options().env("GONE", "1").env_clear().env("B", "2").env("A", "1").env("B", "3");
    let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
    assert_eq!(only.spawn(look, ()).unwrap().join().unwrap(), [pair("A", "1"), pair("B", "3")]);
    let all = Process::options().env_remove("PATH").env("A", "1").spawn(look, ()).unwrap().join().unwrap();
    let ours = std::env::vars().filter(|(name, _)| name != "PATH" && name != "A").count();
    assert_eq!(all.len(), ours + 1);
}

#[test]
fn a_child_works_where_it_was_told() {
    let _watchdog = Watchdog::new("a_child_works_where_it_was_told");
    let place = |(): ()| std::env::current_dir().unwrap();
    let there = std::fs::canonicalize("/usr").unwrap();
    let child = Process::options().current_dir(&there).spawn(place, ()).unwrap();
    assert_eq!(child.join().unwrap(), there);
    assert_eq!(Process::spawn(place, ()).unwrap().join().unwrap(), std::env::current_dir().unwrap());
}

#[test]
fn streams_are_pipes_files_or_nothing() {
    let _watchdog = Watchdog::new("streams_are_pipes_files_or_nothing");
    let shout = |(): ()| {
        let mut heard = String::new();
        std::io::stdin().read_to_string(&mut heard).unwrap();
        println!("{}", heard.to_uppercase());
        eprintln!("done");
    };
    let piped = Process::options().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn(shout, ()).unwrap();
    child.take_stdin().unwrap().write_all("olá".as_bytes()).unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    child.take_stdout().unwrap().read_to_string(&mut out).unwrap();
    child.take_stderr().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("OLÁ\n", "done\n"));
    assert!(child.take_stdin().is_none() && child.take_stdout().is_none());
    child.join().unwrap();

    let (mut reader, writer) = std::io::pipe().unwrap();
    let to_pipe = Process::options().stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
    for _ in 0..2 {
        to_pipe.spawn(shout, ()).unwrap().join().unwrap();
    }
    drop(to_pipe);
    let mut twice = String::new();
    reader.read_to_string(&mut twice).unwrap();
    assert_eq!(twice, "\n\n");
}

/// Joining closes the pipe that the child reads, or both would wait for ever.
#[test]
fn a_child_that_reads_to_the_end_can_be_joined() {
    let _watchdog = Watchdog::new("a_child_that_reads_to_the_end_can_be_joined");
    let read = |(): ()| std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let child = Process::options().stdin(Stdio::piped()).spawn(read, ()).unwrap();
    assert_eq!(child.join().unwrap(), 0);
}

#[test]
fn a_child_runs_on_its_cpus_and_within_its_limits() {
    let _watchdog = Watchdog::new("a_child_runs_on_its_cpus_and_within_its_limits");
    let facts = |(): ()| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        (cpus.trim().to_string(), files.split_whitespace().skip(3).take(2).map(str::to_string).collect::<Vec<_>>())
    };
    let child = Process::options().affinity([0]).limit(Resource::OpenFiles, 77).spawn(facts, ()).unwrap();
    assert_eq!(child.join().unwrap(), ("0".to_string(), vec!["77".to_string(); 2]));

    let nowhere = Process::options().affinity([]).spawn(facts, ()).unwrap().exit().unwrap();
    assert!(matches!(&nowhere, Exit::Refused(why) if why.contains("CPUs")), "{nowhere}");
    let beyond = Process::options().affinity([u32::MAX]).spawn(facts, ()).unwrap().exit().unwrap();
    assert!(matches!(&beyond, Exit::Refused(why) if why.contains("CPUs")), "{beyond}");
}

#[test]
fn a_child_that_allocates_beyond_its_limit_aborts() {
    let _watchdog = Watchdog::new("a_child_that_allocates_beyond_its_limit_aborts");
    let eat = |(): ()| std::hint::black_box(vec![1_u8; 1 << 30]).len();
    let options = Process::options().limit(Resource::Data, 256 << 20).stderr(Stdio::null());
    let exit = options.spawn(eat, ()).unwrap().exit().unwrap();
    assert_eq!(exit, Exit::Killed { signal: 6, out_of_memory: false });
}

#[test]
fn children_end_in_order_of_force() {
    let _watchdog = Watchdog::new("children_end_in_order_of_force");
    let stay = |(): ()| -> u8 {
        loop {
            std::thread::park();
        }
    };
    let mut polite = Process::spawn(stay, ()).unwrap();
    polite.terminate(Duration::from_secs(3600)).unwrap();
    assert_eq!(polite.try_exit().unwrap(), Exit::Killed { signal: 15, out_of_memory: false });

    let deaf = |fd: ()| -> u8 {
        // SAFETY: ignoring a signal touches no memory.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        println!("deaf");
        let () = fd;
        loop {
            std::thread::park();
        }
    };
    let mut deaf = Process::options().stdout(Stdio::piped()).spawn(deaf, ()).unwrap();
    deaf.take_stdout().unwrap().read_exact(&mut [0; 5]).unwrap();
    deaf.terminate(Duration::from_millis(10)).unwrap();
    assert_eq!(deaf.exit().unwrap(), Exit::Killed { signal: 9, out_of_memory: false });

    let child = Process::spawn(stay, ()).unwrap();
    assert!(child.signal(-1).unwrap_err().is_invalid());
    child.signal(12).unwrap();
    let death = child.death();
    death.wait().unwrap();
    assert!(death.has_come() && death.as_fd().try_clone_to_owned().is_ok());
    assert_eq!(child.exit().unwrap(), Exit::Killed { signal: 12, out_of_memory: false });
}
