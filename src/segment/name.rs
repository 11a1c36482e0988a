//! What an object is called, and what is said of its type instead of the type's own name.

use crate::error::{Error, Kind, Result};
use crate::segment::layout::OBJECT_NAME_MAX;

/// The name of an object in a segment, which every `create` and `open` takes. A `&str` is one.
///
/// Two programs that share an object must mean the same type by it. What is compared is the last path segment of the type's
/// name, its size, alignment and encoding. Where the type is called otherwise in the two programs, or
/// has a version, both give it a tag of their choice:
///
/// ```
/// use mutirao::{Name, Queue, Segment};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Order(u32, String);
///
/// let shop = Segment::anonymous(1 << 20)?;
/// let orders = Queue::<Order>::create(&shop, Name::new("orders").type_tag("order/2"), 16)?;
/// orders.send(Order(2, "bread".into()))?;
///
/// // In another program, whose type has another name and is encoded alike:
/// let same = Queue::<(u32, String)>::open(&shop, Name::new("orders").type_tag("order/2"))?;
/// assert_eq!(same.recv()?.1, "bread");
/// assert!(Queue::<(u32, String)>::open(&shop, "orders").is_err_and(|e| e.is_wrong_type()));
/// # Ok::<(), mutirao::Error>(())
/// ```
///
/// A name has 1 to 64 bytes of any text without zero bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Name<'a> {
    name: &'a str,
    type_tag: Option<&'a str>,
}

impl<'a> Name<'a> {
    /// A name, checked when it is used.
    pub const fn new(name: &'a str) -> Self {
        Self { name, type_tag: None }
    }

    /// Compares this text and not the type's name. For plain data size and alignment are compared still.
    #[must_use]
    pub const fn type_tag(self, tag: &'a str) -> Self {
        Self { type_tag: Some(tag), ..self }
    }

    pub(crate) const fn get(&self) -> &'a str {
        self.name
    }

    pub(crate) const fn tag(&self) -> Option<&'a str> {
        self.type_tag
    }

    /// Refuses what can not be a name.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |why: String| Err(Error::invalid(format!("the name {:?}", self.name), why));
        match self.name.len() {
            0 => refuse("a name has at least one byte".into()),
            len if len > OBJECT_NAME_MAX => refuse(format!("it has {len} bytes, a name has at most {OBJECT_NAME_MAX}")),
            _ if self.name.contains('\0') => refuse("it contains a zero byte".into()),
            _ => Ok(()),
        }
    }
}

impl<'a> From<&'a str> for Name<'a> {
    fn from(name: &'a str) -> Self {
        Self::new(name)
    }
}

impl<'a> From<&'a String> for Name<'a> {
    fn from(name: &'a String) -> Self {
        Self::new(name)
    }
}

/// The error for a name that nothing has, with the nearest one that something has.
pub(crate) fn not_found(name: &str, others: impl Iterator<Item = String>) -> Error {
    let distance = |other: &String| changes(&name.to_lowercase(), &other.to_lowercase());
    let near =
        others.map(|other| (distance(&other), other)).min().filter(|(changes, _)| *changes <= 2 + name.len() / 4);
    let advice = match near {
        Some((_, other)) => format!("there is an object {other:?}"),
        None => "create it, or look at what `objects()` lists".into(),
    };
    Kind::NotFound { what: format!("object {name:?} in the segment").into(), advice: advice.into() }.into()
}

/// How many characters must be put in, taken out or changed to make one text of the other.
fn changes(one: &str, other: &str) -> usize {
    let other: Vec<_> = other.chars().collect();
    let mut row: Vec<_> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut above_left = i;
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (above_left + usize::from(a != *b)).min(above + 1).min(row[j] + 1);
            above_left = above;
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::{Name, changes, not_found};

    #[test]
    fn names_are_checked() {
        for bad in ["", "a\0b", &"x".repeat(65)] {
            assert!(Name::new(bad).check().is_err_and(|e| e.is_invalid()), "{bad:?}");
        }
        for good in ["orders", "a/b", ".", "é", &"x".repeat(64)] {
            Name::new(good).check().unwrap();
        }
    }

    #[test]
    fn the_nearest_name_is_suggested() {
        assert_eq!(changes("kitten", "sitting"), 3);
        assert_eq!(changes("", "abc"), 3);
        let of = |names: &[&str]| not_found("orders", names.iter().map(|n| (*n).to_owned())).to_string();
        assert!(of(&["Order", "bread"]).contains("\"Order\""), "{}", of(&["Order", "bread"]));
        assert!(!of(&["bread", "results"]).contains("bread"));
        assert!(of(&[]).contains("objects()"));
    }
}
