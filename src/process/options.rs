//! What a child is spawned with.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::process::again::{argument, title_of, variable};
use crate::process::settings::{Resource, Settings};
use crate::process::stdio::Stdio;
use crate::process::zygote::Zygote;

/// What a child is spawned with; made by [`Process::options`](crate::Process::options). It can be used for many children.
#[derive(Clone, Default, Debug)]
#[must_use]
pub struct Options {
    pub(crate) name: Option<String>,
    env_is_cleared: bool,
    /// In the order they were asked for; `None` removes.
    env: Vec<(OsString, Option<OsString>)>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) streams: [Stdio; 3],
    affinity: Option<Vec<u32>>,
    limits: Vec<(u32, Option<u64>)>,
    pub(crate) detached: bool,
    pub(crate) zygote: Option<Zygote>,
}

impl Options {
    /// What `ps`, `top` and messages call the child (default: the program's name). They show the first 15 bytes as its
    /// command; the whole name stands as the first of its arguments.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets a variable in the child's environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Removes a variable from the child's environment.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), None));
        self
    }

    /// The child begins without the parent's variables, and without those that were set before this call.
    pub fn env_clear(mut self) -> Self {
        self.env.clear();
        self.env_is_cleared = true;
        self
    }

    /// Where the child works (default: where the parent works when it spawns).
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// The child's standard input (default: the parent's).
    pub fn stdin(mut self, stream: impl Into<Stdio>) -> Self {
        self.streams[0] = stream.into();
        self
    }

    /// The child's standard output (default: the parent's).
    pub fn stdout(mut self, stream: impl Into<Stdio>) -> Self {
        self.streams[1] = stream.into();
        self
    }

    /// The child's standard error (default: the parent's).
    pub fn stderr(mut self, stream: impl Into<Stdio>) -> Self {
        self.streams[2] = stream.into();
        self
    }

    /// The CPUs that the child may run on (default: those of the thread that spawns it).
    pub fn affinity(mut self, cpus: impl IntoIterator<Item = u32>) -> Self {
        self.affinity = Some(cpus.into_iter().collect());
        self
    }

    /// Limits what the child may use. It can not raise that again.
    #[doc(alias = "rlimit")]
    #[doc(alias = "ulimit")]
    pub fn limit(mut self, resource: Resource, value: u64) -> Self {
        self.limits.push((resource.number(), Some(value)));
        self
    }

    /// Whether the child lives on when its parent ends (default: no).
    #[doc(alias = "daemon")]
    pub fn detached(mut self, detached: bool) -> Self {
        self.detached = detached;
        self
    }

    /// The child is forked by this zygote instead of being this executable run again: that is quicker.
    pub fn zygote(mut self, zygote: &Zygote) -> Self {
        self.zygote = Some(zygote.clone());
        self
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings { name: self.name.clone(), affinity: self.affinity.clone(), limits: self.limits.clone() }
    }

    /// What messages call the child.
    pub(crate) fn title(&self) -> &str {
        title_of(self.name.as_deref())
    }

    /// The child's whole environment, as `NAME=value`.
    pub(crate) fn environment(&self) -> Result<Vec<CString>> {
        let ours = std::env::vars_os().filter(|_| !self.env_is_cleared);
        let ours = ours.filter(|(name, _)| !self.env.iter().any(|(changed, _)| changed == name));
        let mut changes: Vec<_> = Vec::new();
        for (name, value) in &self.env {
            changes.retain(|(other, _)| other != name);
            changes.extend(value.clone().map(|value| (name.clone(), value)));
        }
        let is_bad = |name: &OsStr| name.is_empty() || name.as_bytes().contains(&b'=');
        if let Some((name, _)) = changes.iter().find(|(name, _)| is_bad(name)) {
            return Err(Error::invalid(format!("a variable called {name:?}"), "names have no `=` and are not empty"));
        }
        ours.chain(changes).map(variable).collect()
    }

    /// The arguments that a child is run with: ours, and its name in place of ours.
    pub(crate) fn arguments(&self) -> Result<Vec<CString>> {
        let mut args: Vec<_> = std::env::args_os().collect();
        if let Some(name) = &self.name {
            args.splice(..args.len().min(1), [OsString::from(name)]);
        }
        args.into_iter().map(argument).collect()
    }
}
