//! The one place where a position becomes a function.
//!
//! A child is the same executable, loaded elsewhere. So a function travels as its position in the
//! executable, together with the position of [`run`] for its types, which knows how to decode the
//! arguments, call it and encode the result. The child checks that its executable has the same identity
//! (the linker's build id) and that both positions lie in code.
//!
//! Unsafe is here because nothing in safe Rust calls an address.
#![allow(unsafe_code)]

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::process::batch::{Batch, Failure};
use crate::process::encoded::{Encoded, decode, encode};
use crate::process::exit::Panic;
use crate::process::panics;
use crate::process::routine::{Routine, Secret};
use crate::sys::executable::{Image, image};

/// A function, as it travels.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Call {
    identity: Vec<u8>,
    run: u64,
    function: u64,
}

/// What came of a call.
pub(crate) enum Answer {
    Returned(Encoded),
    Panicked(Panic),
    Refused(String),
}

/// The address of a function of this executable. Invariant: it lies in the executable's code.
#[derive(Clone, Copy)]
struct Code(usize);

/// [`run`] for some types.
type Run = fn(Code, Encoded) -> Answer;

/// What makes the calls of a batch, for some types: [`run_each`], [`run_trials`], [`run_fold`].
type RunBatch = fn([Code; 2], &mut Batch<'_>);

impl Call {
    /// The call of `f`, for another process that runs the same executable.
    pub(crate) fn new<A: DeserializeOwned, R: Serialize>(f: fn(A) -> R) -> Result<Self> {
        Self::of(run::<A, R>, f as usize)
    }

    /// The call of a function that takes and returns nothing.
    pub(crate) fn plain(f: fn()) -> Result<Self> {
        Self::of(run_plain, f as usize)
    }

    fn of(run: Run, function: usize) -> Result<Self> {
        let image = image().map_err(|error| Error::io("looking at the own executable", error))?;
        let position = |address: usize| match address_is_code(&image, address) {
            true => Ok((address - image.base) as u64),
            false => Err(Error::invalid(
                "a function from a shared library",
                "a child can only run functions of the executable itself",
            )),
        };
        Ok(Self { run: position(run as usize)?, function: position(function)?, identity: image.identity })
    }

    /// Makes the call, in the process that was started for it.
    pub(crate) fn make(&self, args: Encoded) -> Answer {
        let image = match image() {
            Ok(image) if image.identity == self.identity => image,
            Ok(_) => return Answer::Refused("it is another build of the program than its parent".into()),
            Err(error) => return Answer::Refused(error.to_string()),
        };
        let (Some(run), Some(function)) = (code_at(&image, self.run), code_at(&image, self.function)) else {
            return Answer::Refused("its parent named a function outside the executable's code".into());
        };
        // SAFETY: 1. `run` is a valid address of code in this executable; 2. the identity says that this is
        //            the executable in which `Call::new` took the position, and it took it from a `Run`;
        //            3. a function pointer is as wide as an address.
        let run = unsafe { core::mem::transmute::<usize, Run>(run.0) };
        run(function, args)
    }
}

/// This executable; looked at once.
fn own_image() -> Result<&'static Image> {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    if let Some(image) = IMAGE.get() {
        return Ok(image);
    }
    let image = image().map_err(|error| Error::io("looking at the own executable", error))?;
    Ok(IMAGE.get_or_init(|| image))
}

impl Routine {
    fn of(run: RunBatch, functions: [usize; 2], secret: Secret) -> Result<Self> {
        let image = own_image()?;
        let position = |address: usize| match address_is_code(image, address) {
            true => Ok((address - image.base) as u64),
            false => Err(Error::invalid(
                "a function from a shared library",
                "a worker can only run functions of the executable itself",
            )),
        };
        let [first, second] = functions;
        Ok(Self::seal([position(run as usize)?, position(first)?, position(second)?], secret))
    }

    /// Calls of `f`.
    pub(crate) fn each<A: DeserializeOwned, R: Serialize>(f: fn(A) -> R, secret: Secret) -> Result<Self> {
        Self::of(run_each::<A, R>, [f as usize; 2], secret)
    }

    /// Calls of `f`, whose errors are no results.
    pub(crate) fn trials<A, R, E>(f: fn(A) -> Result<R, E>, secret: Secret) -> Result<Self>
    where
        A: DeserializeOwned,
        R: Serialize,
        E: core::fmt::Display,
    {
        Self::of(run_trials::<A, R, E>, [f as usize; 2], secret)
    }

    /// Calls of `f`, whose results `fold` makes into one.
    pub(crate) fn fold<A, R>(f: fn(A) -> R, fold: fn(R, R) -> R, secret: Secret) -> Result<Self>
    where
        A: DeserializeOwned,
        R: Serialize,
    {
        Self::of(run_fold::<A, R>, [f as usize, fold as usize], secret)
    }

    /// Makes the calls of a batch. That this name came from our parent was verified when it was made.
    pub(crate) fn run(&self, batch: &mut Batch<'_>) {
        let [run, first, second] = self.positions;
        let image = match own_image() {
            Ok(image) => image,
            Err(error) => return batch.fail_all(&Failure::Function(error.to_string())),
        };
        let (Some(run), Some(first), Some(second)) =
            (code_at(image, run), code_at(image, first), code_at(image, second))
        else {
            return batch.fail_all(&Failure::Function("it lies outside the executable's code".into()));
        };
        // SAFETY: 1. `run` is a valid address of code in this executable; 2. a `Routine` is made by `of`, which took
        //            the position from a `RunBatch`, or verified to come from our parent, which runs the same build
        //            (`Call::make` compared that when this process was started); 3. a function pointer is as wide as an address.
        let run = unsafe { core::mem::transmute::<usize, RunBatch>(run.0) };
        run([first, second], batch);
    }
}

/// Makes the calls of a batch.
fn run_each<A: DeserializeOwned, R: Serialize>([function, _]: [Code; 2], batch: &mut Batch<'_>) {
    // SAFETY: 1. `function` is a valid address of code in this executable; 2. `Routine::each` takes the positions of
    //            `run_each::<A, R>` and of an `fn(A) -> R` together, and one seal is over both; 3. as wide as an address.
    let function = unsafe { core::mem::transmute::<usize, fn(A) -> R>(function.0) };
    batch.call_each(|args| Ok(function(args)));
}

/// Makes the calls of a batch, which may fail.
fn run_trials<A, R, E>([function, _]: [Code; 2], batch: &mut Batch<'_>)
where
    A: DeserializeOwned,
    R: Serialize,
    E: core::fmt::Display,
{
    // SAFETY: 1. `function` is a valid address of code in this executable; 2. `Routine::trials` takes the positions of
    //            `run_trials::<A, R, E>` and of such a function together, and one seal is over both; 3. as wide as an address.
    let function = unsafe { core::mem::transmute::<usize, fn(A) -> Result<R, E>>(function.0) };
    batch.call_each(|args| function(args).map_err(|error| error.to_string()));
}

/// Makes the calls of a batch and folds their results.
fn run_fold<A: DeserializeOwned, R: Serialize>([function, fold]: [Code; 2], batch: &mut Batch<'_>) {
    // SAFETY: 1. `function` is a valid address of code in this executable; 2. `Routine::fold` takes the positions of
    //            `run_fold::<A, R>`, of an `fn(A) -> R` and of an `fn(R, R) -> R` together, and one seal is over all
    //            three; 3. as wide as an address.
    let function = unsafe { core::mem::transmute::<usize, fn(A) -> R>(function.0) };
    // SAFETY: as above, of `fold`.
    let fold = unsafe { core::mem::transmute::<usize, fn(R, R) -> R>(fold.0) };
    batch.fold_all(function, fold);
}

fn address_is_code(image: &Image, address: usize) -> bool {
    address >= image.base && image.code.iter().any(|code| code.contains(&address))
}

fn code_at(image: &Image, position: u64) -> Option<Code> {
    let address = image.base.checked_add(usize::try_from(position).ok()?)?;
    address_is_code(image, address).then_some(Code(address))
}

/// Decodes the arguments, calls the function, encodes the result.
fn run<A: DeserializeOwned, R: Serialize>(function: Code, args: Encoded) -> Answer {
    // SAFETY: 1. `function` is a valid address of code in this executable; 2. `Call::new` takes the positions
    //            of `run::<A, R>` and of an `fn(A) -> R` together, and they travel together; 3. a function
    //            pointer is as wide as an address.
    let function = unsafe { core::mem::transmute::<usize, fn(A) -> R>(function.0) };
    let args = match decode::<A>("the arguments", args) {
        Ok(args) => args,
        Err(error) => return Answer::Refused(error.to_string()),
    };
    guard(|| encode("the result", &function(args)))
}

/// Calls a function that takes and returns nothing.
fn run_plain(function: Code, _: Encoded) -> Answer {
    // SAFETY: 1. `function` is a valid address of code in this executable; 2. `Call::plain` takes the positions of this
    //            function and of an `fn()` together, and they travel together; 3. a function pointer is as wide as an
    //            address.
    let function = unsafe { core::mem::transmute::<usize, fn()>(function.0) };
    guard(|| {
        function();
        encode("the result", &())
    })
}

fn guard(call: impl FnOnce() -> Result<Encoded>) -> Answer {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(result)) => Answer::Returned(result),
        Ok(Err(error)) => Answer::Refused(error.to_string()),
        Err(panic) => Answer::Panicked(panics::describe(panic.as_ref())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twice(n: u32) -> u32 {
        n * 2
    }

    #[test]
    fn a_position_leads_back_to_its_function() {
        let call = Call::new(twice).unwrap();
        let Answer::Returned(result) = call.make(encode("", &21u32).unwrap()) else { panic!("not returned") };
        assert_eq!(decode::<u32>("", result).unwrap(), 42);
    }

    #[test]
    fn positions_outside_the_code_and_other_builds_are_refused() {
        let refused = |call: &Call| matches!(call.make(encode("", &21u32).unwrap()), Answer::Refused(_));
        let mut call = Call::new(twice).unwrap();
        call.function = u64::MAX;
        assert!(refused(&call));
        call.function = 0;
        assert!(refused(&call));
        call = Call::new(twice).unwrap();
        call.identity.push(0);
        assert!(refused(&call));
    }
}
