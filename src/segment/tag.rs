//! Type tags: what a segment says of the type it holds, and how it is held against the opener's.

use crate::error::{Error, Kind, Result};
use crate::segment::layout::ObjectKind;
use core::fmt;

/// Bytes that a type's name has in a header.
pub(crate) const NAME_LEN: usize = 64;

/// How an object's items become bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Encoding {
    /// Nothing but the object itself.
    None = 0,
    /// Plain data, byte by byte.
    Plain = 1,
    /// serde by postcard.
    Postcard = 2,
    /// Bytes, of any number.
    Bytes = 3,
    /// One word of 8 bytes.
    Word = 4,
}

/// Where the second encoding of a [pair](TypeTag::pair) stands.
const SECOND: u32 = 8;

/// Last path segment of a type's name, size, alignment and encoding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TypeTag {
    pub name: [u8; NAME_LEN],
    pub size: u64,
    pub align: u32,
    pub encoding: u32,
}

impl TypeTag {
    /// The tag of an object without items.
    pub(crate) const NONE: Self = Self { name: [0; NAME_LEN], size: 0, align: 0, encoding: Encoding::None as u32 };

    /// The tag of `T` in this encoding.
    pub(crate) fn of<T>(encoding: Encoding) -> Self {
        Self {
            name: pack(&short(core::any::type_name::<T>())),
            size: size_of::<T>() as u64,
            align: u32::try_from(align_of::<T>()).unwrap_or(u32::MAX),
            encoding: encoding as u32,
        }
    }

    /// The tag of what has keys and values: each field is that of the key, and above it, in the upper half or the second byte,
    /// that of the value.
    pub(crate) fn pair(key: &Self, value: &Self) -> Self {
        let name = |tag: &Self| String::from_utf8_lossy(tag.name()).into_owned();
        Self {
            name: pack(&format!("{}, {}", name(key), name(value))),
            size: key.size & 0xffff_ffff | value.size << 32,
            align: key.align & 0xffff | value.align << 16,
            encoding: key.encoding | value.encoding << SECOND,
        }
    }

    /// The same type in another encoding.
    pub(crate) fn encoded(self, encoding: Encoding) -> Self {
        Self { encoding: encoding as u32, ..self }
    }

    fn name(&self) -> &[u8] {
        self.name.split(|b| *b == 0).next().unwrap_or_default()
    }

    /// The encodings, and for each what is left of size and alignment.
    fn halves(&self) -> [(u32, u64, u32); 2] {
        let first = (self.encoding & 0xff, self.size & 0xffff_ffff, self.align & 0xffff);
        [first, (self.encoding >> SECOND, self.size >> 32, self.align >> 16)]
    }

    fn is_pair(&self) -> bool {
        self.encoding >> SECOND != 0
    }

    /// The tag of the same encoding under a name that the user gave. What plain data looks like is compared still; what
    /// is encoded may have any size in memory.
    pub(crate) fn given(self, name: &str) -> Self {
        // No type's name begins with a quote.
        let named = Self { name: pack(&format!("\"{name}\"")), ..self };
        if self.is_pair() {
            let kept = self.halves().map(|(encoding, size, align)| match encoding {
                2 => (0, 0),
                _ => (size, align),
            });
            let [(first, first_align), (second, second_align)] = kept;
            return Self { size: first | second << 32, align: first_align | second_align << 16, ..named };
        }
        if self.encoding == Encoding::Postcard as u32 { Self { size: 0, align: 0, ..named } } else { named }
    }

    /// Whether the user gave it.
    pub(crate) fn is_given(&self) -> bool {
        self.name[0] == b'"'
    }

    /// Refuses an object of another kind or type, naming both.
    pub(crate) fn expect(&self, kind: ObjectKind, found_kind: ObjectKind, found: &Self) -> Result<()> {
        if kind == found_kind && self == found {
            return Ok(());
        }
        let say = |kind: ObjectKind, tag: &Self| format!("{kind:?}{tag}");
        Err(Error::from(Kind::WrongType { found: say(found_kind, found), wanted: say(kind, self) }))
    }
}

impl fmt::Display for TypeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.encoding == Encoding::None as u32 {
            return Ok(());
        }
        let name = self.name();
        let say = |encoding| match encoding {
            1 => "plain",
            2 => "postcard",
            3 => "bytes",
            4 => "a word",
            _ => "unknown encoding",
        };
        if self.is_pair() {
            let [key, value] = self.halves();
            let name = name.escape_ascii();
            let [(key, key_size, _), (value, value_size, _)] = [key, value];
            return write!(
                f,
                "<{name}> (keys of {key_size} bytes, {}, values of {value_size}, {})",
                say(key),
                say(value)
            );
        }
        let encoding = say(self.encoding);
        write!(f, "<{}> ({} bytes, aligned to {}, {encoding})", name.escape_ascii(), self.size, self.align)
    }
}

/// The name without module paths: `alloc::vec::Vec<a::B>` becomes `Vec<B>`, so that two programs may keep
/// a struct in different modules.
fn short(name: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
        } else if c == ':' && chars.peek() == Some(&':') {
            chars.next();
            word.clear();
        } else {
            out.push_str(&word);
            word.clear();
            out.push(c);
        }
    }
    out + &word
}

/// The name in its place; a longer one keeps its start and a hash of the whole.
fn pack(name: &str) -> [u8; NAME_LEN] {
    let mut bytes = [0; NAME_LEN];
    let text = if name.len() <= NAME_LEN {
        name.to_owned()
    } else {
        let hash =
            name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
        let start: String = name.chars().take_while(char::is_ascii).take(NAME_LEN - 17).collect();
        format!("{start}#{hash:016x}")
    };
    bytes.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Encoding, NAME_LEN, TypeTag, pack, short};

    #[test]
    fn paths_are_dropped_and_shapes_are_kept() {
        assert_eq!(short("alloc::vec::Vec<(my::Order, core::option::Option<u8>)>"), "Vec<(Order, Option<u8>)>");
        assert_eq!(short("[u8; 64]"), "[u8; 64]");
        assert_eq!(short("&str"), "&str");
    }

    #[test]
    fn pairs_say_both_types() {
        let (text, three) = (TypeTag::of::<String>(Encoding::Postcard), TypeTag::of::<[u32; 3]>(Encoding::Plain));
        let tag = TypeTag::pair(&text, &three);
        assert_eq!(tag.to_string(), "<String, [u32; 3]> (keys of 24 bytes, postcard, values of 12, plain)");
        let given = tag.clone().given("stock/1");
        assert_eq!(given.to_string(), "<\\\"stock/1\\\"> (keys of 0 bytes, postcard, values of 12, plain)");
        assert_ne!(tag, TypeTag::pair(&three, &text));
    }

    #[test]
    fn long_names_stay_different() {
        let (a, b) = ("x".repeat(100), "x".repeat(99) + "y");
        assert_ne!(pack(&a), pack(&b));
        assert_eq!(pack(&a).len(), NAME_LEN);
    }
}
