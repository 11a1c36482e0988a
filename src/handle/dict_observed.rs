//! What of a dictionary can be read by who takes no part in its segment.

use crate::error::{Error, Result};
use crate::handle::dict::Dict;
use crate::handle::dict_bits::{Bits, Found, copy};
use crate::handle::dict_codec::{DictItem, Lookup, is_inline, with_spare};
use crate::handle::observed::ReadOnly;
use crate::raw::table_line::{PairLine, RecordLine};
use crate::segment::name::Name;
use crate::segment::observer::Observer;
use crate::segment::table_plan::Bucket;
use crate::segment::table_view::TableView;

impl Observer {
    /// The [`Dict`] of this name.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    pub fn dict<'a, K: DictItem, V: DictItem>(&self, name: impl Into<Name<'a>>) -> Result<ReadOnly<Dict<K, V>>> {
        self.look_at(name.into())
    }
}

/// The view of the one kind or the other.
enum Views<'a> {
    Words(TableView<'a, PairLine>),
    Records(TableView<'a, RecordLine>),
}

impl<K: DictItem, V: DictItem> ReadOnly<Dict<K, V>> {
    fn look<R>(&self, ask: impl FnOnce(&Views<'_>) -> Result<R>) -> Result<R> {
        let look = || {
            let arena = self.sight.observer.arena();
            let arena = arena.ok_or_else(|| Error::corrupt("the segment", "a dictionary without an arena"))?;
            let (body, shape) = (&self.sight.body, self.sight.shape);
            ask(&match is_inline::<K, V>() {
                true => Views::Words(TableView::new(body, shape, arena, Bucket::Words)?),
                false => Views::Records(TableView::new(body, shape, arena, Bucket::Records)?),
            })
        };
        self.sight.checked(look())
    }

    fn find<Q: Lookup<K> + ?Sized>(&self, key: &Q) -> Result<Option<Found>> {
        with_spare(|spare| {
            let key = match is_inline::<K, V>() {
                true => Bits::Word(key.word()),
                false => Bits::Bytes(key.bytes(u32::MAX as usize, spare)?),
            };
            self.look(|table| match (table, key) {
                (Views::Words(table), Bits::Word(key)) => Ok(table.get_word(key)?.map(Found::Word)),
                (Views::Records(table), Bits::Bytes(key)) => {
                    let mut bytes = Vec::new();
                    let read = table.get(key, |words, len| copy(words, len, &mut bytes))?;
                    Ok(read.map(|()| Found::Bytes(bytes)))
                }
                _ => Ok(None), // the view was made for these keys
            })
        })
    }

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// `is_codec` for one that does not decode; else see [`ReadOnly`].
    pub fn get<Q: Lookup<K> + ?Sized>(&self, key: &Q) -> Result<Option<V>> {
        self.find(key)?.map(|found| found.decode("a value")).transpose()
    }

    /// Whether the key has a value.
    ///
    /// # Errors
    ///
    /// See [`ReadOnly`].
    pub fn contains_key<Q: Lookup<K> + ?Sized>(&self, key: &Q) -> Result<bool> {
        Ok(self.find(key)?.is_some())
    }

    /// How many entries there are now.
    ///
    /// # Errors
    ///
    /// See [`ReadOnly`].
    pub fn len(&self) -> Result<usize> {
        let len = self.look(|table| match table {
            Views::Words(table) => Ok(table.len()),
            Views::Records(table) => Ok(table.len()),
        });
        Ok(usize::try_from(len?).unwrap_or(usize::MAX))
    }

    /// Whether there is none now.
    ///
    /// # Errors
    ///
    /// See [`ReadOnly`].
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// All entries: those that stay are there exactly once, those that come or go meanwhile are there or not.
    ///
    /// # Errors
    ///
    /// `is_codec` for one that does not decode; else see [`ReadOnly`].
    pub fn to_vec(&self) -> Result<Vec<(K, V)>> {
        let entries = self.look(|table| {
            let mut found = Vec::new();
            match table {
                Views::Words(table) => {
                    let families = table.buckets();
                    for family in 0..families {
                        let each = |key, value| found.push((Found::Word(key), Found::Word(value)));
                        table.scan_words(family, families, each)?;
                    }
                }
                Views::Records(table) => {
                    let families = table.buckets();
                    for family in 0..families {
                        let each = |key: &[u8], value: &[u8]| found.push((Found::of(key), Found::of(value)));
                        table.scan(family, families, each)?;
                    }
                }
            }
            Ok(found)
        });
        entries?.iter().map(|(key, value)| Ok((key.decode("a key")?, value.decode("a value")?))).collect()
    }
}
