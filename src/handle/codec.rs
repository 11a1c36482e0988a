//! How items become the bytes of a cell and back: any serde type by postcard, plain data as it is.
//!
//! Code of the user's (`Serialize`, `Deserialize`) runs before a cell is claimed and after it is free again, never
//! between: it may panic, take long, or use the same queue.

use crate::error::{Error, Kind, Result};
use crate::handle::portable;
use crate::segment::plain::{self, PlainData};
use crate::segment::tag::{Encoding, TypeTag};
use crate::sync::AtomicU64;
use core::cell::RefCell;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of a cell for encoded items, unless said otherwise.
pub(crate) const ENCODED_CELL: usize = 120;
/// A scratch buffer larger than this is not kept for the next item.
const SCRATCH_KEPT: usize = 1 << 20;

thread_local! {
    /// Where items are encoded into and decoded from. Taken out while it is used, so that user code that
    /// uses a queue finds a fresh one.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a [`Queue`](crate::Queue) may carry: every type with serde's `Serialize` and `DeserializeOwned`, and
/// [`Plain<T>`] for plain data without a codec.
///
/// ```
/// fn is_item<T: mutirao::Item>() {}
/// is_item::<(String, Vec<u8>)>();
/// is_item::<mutirao::Plain<[u64; 8]>>();
/// ```
///
/// An address of one process means nothing in another:
///
/// ```compile_fail
/// fn is_item<T: mutirao::Item>() {}
/// is_item::<&'static str>();
/// ```
pub trait Item: Coded {}
impl<T: Coded> Item for T {}

/// Plain data as an item: its bytes, with no codec between.
///
/// # Examples
///
/// ```
/// use mutirao::{Plain, Queue};
/// let samples = Queue::<Plain<[f32; 4]>>::new(64)?;
/// samples.send(Plain([0.5; 4]))?;
/// assert_eq!(samples.recv()?.0, [0.5; 4]);
/// # Ok::<(), mutirao::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Plain<T>(pub T);

/// The two ways of an item. Sealed: a user names [`Item`].
pub trait Coded: Sized {
    /// What is copied out of a cell before the cell is free again.
    #[doc(hidden)]
    type Raw;
    /// The size of every item, if they have one size.
    #[doc(hidden)]
    const FIXED: Option<usize>;
    #[doc(hidden)]
    const NAME: Name<Self>;
    /// Runs `f` with the item's bytes, at most `limit` of them.
    #[doc(hidden)]
    fn with_bytes<R>(&self, limit: usize, f: impl FnOnce(&[u8]) -> R) -> Result<R>;
    /// The item's bytes as they are, if every item has one size.
    #[doc(hidden)]
    #[inline(always)]
    fn fixed_bytes(&self) -> Option<&[u8]> {
        None
    }
    /// Appends nothing but the item's bytes to what was emptied, at most `limit` of them; `what` it is, for an error.
    #[doc(hidden)]
    fn encode_into(&self, limit: usize, bytes: &mut Vec<u8>, what: &'static str) -> Result<()>;
    /// Makes the item of private bytes.
    #[doc(hidden)]
    fn decode_from(bytes: &[u8], what: &'static str) -> Result<Self>;
    /// What every item of one size is, bytes for bytes.
    #[doc(hidden)]
    type Data: PlainData;
    /// The item of this. `None`: items have no one size.
    #[doc(hidden)]
    fn of_data(data: Self::Data) -> Option<Self>;
    /// Copies `len` bytes out of a cell.
    #[doc(hidden)]
    fn copy_out(words: &[AtomicU64], len: usize) -> Self::Raw;
    /// Makes the item of what was copied out.
    #[doc(hidden)]
    fn decode(raw: Self::Raw) -> Result<Self>;
}

/// The type tag of an item, hidden behind a type that nobody else can name.
pub struct Name<T> {
    make: fn() -> TypeTag,
    _type: core::marker::PhantomData<fn() -> T>,
}

impl<T> Name<T> {
    pub(crate) const fn new(make: fn() -> TypeTag) -> Self {
        Self { make, _type: core::marker::PhantomData }
    }

    pub(crate) fn tag(&self) -> TypeTag {
        (self.make)()
    }
}

impl<T: Serialize + DeserializeOwned> Coded for T {
    type Raw = Vec<u8>;
    const FIXED: Option<usize> = None;
    const NAME: Name<T> = Name { make: || TypeTag::of::<T>(Encoding::Postcard), _type: core::marker::PhantomData };

    fn with_bytes<R>(&self, limit: usize, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let mut bytes = take_scratch();
        let done = encode(self, limit, &mut bytes, "a sent item").map(|()| f(&bytes));
        keep_scratch(bytes);
        done
    }

    fn encode_into(&self, limit: usize, bytes: &mut Vec<u8>, what: &'static str) -> Result<()> {
        encode(self, limit, bytes, what)
    }

    fn decode_from(bytes: &[u8], what: &'static str) -> Result<T> {
        decode(bytes, what)
    }

    type Data = ();
    fn of_data((): ()) -> Option<T> {
        None
    }

    fn copy_out(words: &[AtomicU64], len: usize) -> Vec<u8> {
        let mut bytes = take_scratch();
        bytes.resize(len, 0);
        plain::copy_out(words, &mut bytes);
        bytes
    }

    fn decode(bytes: Vec<u8>) -> Result<T> {
        let item = decode(&bytes, "a received item");
        keep_scratch(bytes);
        item
    }
}

impl<T: PlainData> Coded for Plain<T> {
    type Raw = Result<T>;
    const FIXED: Option<usize> = Some(size_of::<T>());
    const NAME: Name<Self> = Name { make: || TypeTag::of::<T>(Encoding::Plain), _type: core::marker::PhantomData };

    #[inline(always)]
    fn with_bytes<R>(&self, limit: usize, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let bytes = self.0.as_bytes();
        if bytes.len() > limit {
            return Err(too_large(bytes.len(), limit));
        }
        Ok(f(bytes))
    }

    #[inline(always)]
    fn fixed_bytes(&self) -> Option<&[u8]> {
        Some(self.0.as_bytes())
    }

    #[inline(always)]
    fn encode_into(&self, limit: usize, bytes: &mut Vec<u8>, _: &'static str) -> Result<()> {
        self.with_bytes(limit, |own| {
            bytes.clear();
            bytes.extend_from_slice(own);
        })
    }

    #[inline(always)]
    fn decode_from(bytes: &[u8], _: &'static str) -> Result<Self> {
        T::try_read_from_bytes(bytes)
            .map(Plain)
            .map_err(|_| Error::corrupt(core::any::type_name::<T>(), "its bytes are no value of the type"))
    }

    type Data = T;

    #[inline(always)]
    fn of_data(data: T) -> Option<Self> {
        Some(Self(data))
    }

    #[inline(always)]
    fn copy_out(words: &[AtomicU64], _: usize) -> Result<T> {
        plain::read_plain(words)
    }

    #[inline(always)]
    fn decode(raw: Result<T>) -> Result<Self> {
        raw.map(Plain)
    }
}

/// Encodes an item of serde's into what is emptied first.
pub(crate) fn encode<T: Serialize + ?Sized>(
    item: &T,
    limit: usize,
    bytes: &mut Vec<u8>,
    what: &'static str,
) -> Result<()> {
    portable::take_refusal();
    bytes.clear();
    let len = postcard::serialize_with_flavor(item, Limited { bytes, limit, len: 0 })
        .map_err(|why| codec_error(what, why.to_string()))?;
    if len > limit { Err(too_large(len, limit)) } else { Ok(()) }
}

fn decode<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T> {
    portable::take_refusal();
    portable::take_error();
    match postcard::take_from_bytes(bytes) {
        Ok((item, [])) => Ok(item),
        Ok((_, rest)) => Err(codec_error(what, format!("{} bytes are left over", rest.len()))),
        Err(why) => Err(match portable::take_error() {
            // A handle in the item: nothing is wrong with its bytes.
            Some(error) if error.is_removed() => gone(),
            Some(error) => codec_error(what, error.to_string()),
            None => codec_error(what, why.to_string()),
        }),
    }
}

/// Keeps the first `limit` bytes and counts the rest, so that an item of any size costs no memory.
struct Limited<'a> {
    bytes: &'a mut Vec<u8>,
    limit: usize,
    len: usize,
}

impl postcard::ser_flavors::Flavor for Limited<'_> {
    type Output = usize;

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        let room = self.limit - self.bytes.len();
        self.bytes.extend_from_slice(data.get(..room).unwrap_or(data));
        self.len = self.len.saturating_add(data.len());
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.try_extend(&[data])
    }

    fn finalize(self) -> postcard::Result<usize> {
        Ok(self.len)
    }
}

#[cold]
pub(crate) fn too_large(len: usize, cell: usize) -> Error {
    Kind::TooLarge { len: len as u64, cell: cell as u64 }.into()
}

#[cold]
fn codec_error(what: &'static str, why: String) -> Error {
    if portable::take_refusal() {
        return Kind::NotReachable { what: "an item" }.into();
    }
    Kind::Codec { what, why }.into()
}

#[cold]
fn gone() -> Error {
    Kind::Removed { what: "the object of a handle in an item" }.into()
}

fn take_scratch() -> Vec<u8> {
    // A thread that ends has no scratch any more.
    SCRATCH.try_with(RefCell::take).unwrap_or_default()
}

fn keep_scratch(bytes: Vec<u8>) {
    if bytes.capacity() <= SCRATCH_KEPT {
        let _ = SCRATCH.try_with(|scratch| scratch.replace(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::{Coded, Plain};
    use crate::sync::AtomicU64;

    #[test]
    fn an_item_too_large_is_measured_and_not_kept() {
        let error = "x".repeat(1000).with_bytes(120, <[u8]>::len).unwrap_err();
        assert!(error.is_too_large());
        assert!(error.to_string().contains("1002"), "{error}");
        assert!(Plain([0_u8; 9]).with_bytes(8, <[u8]>::len).is_err_and(|e| e.is_too_large()));
    }

    #[test]
    fn bytes_that_are_no_item_are_an_error() {
        let words = [AtomicU64::new(u64::MAX)];
        assert!(String::decode(String::copy_out(&words, 8)).is_err_and(|e| e.is_codec()));
        assert!(u8::decode(u8::copy_out(&words, 2)).is_err_and(|e| e.is_codec()));
        assert!(Plain::<bool>::decode(Plain::<bool>::copy_out(&words, 1)).is_err_and(|e| e.is_corrupt()));
    }
}
