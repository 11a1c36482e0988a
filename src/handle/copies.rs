//! Many elements of an `Array` at a time, copied in and out by relaxed atomics.

use crate::error::Result;
use crate::handle::array::Array;
use crate::handle::integer::{bits32_of, bits64_of, try_from_bits};
use crate::segment::plain::PlainData;
use crate::sync::Ordering;

impl<T: PlainData> Array<T> {
    /// Sets every element to `value`.
    ///
    /// # Errors
    ///
    /// See [`Array`].
    pub fn fill(&self, value: T) -> Result<()> {
        (0..self.len()).try_for_each(|index| self.set(index, value))
    }

    /// Copies as many elements out as `into` is long, from `start` on.
    ///
    /// # Errors
    ///
    /// `is_invalid`, before anything is copied, when that is more than there are; else see [`Array`].
    pub fn copy_to(&self, start: usize, into: &mut [T]) -> Result<()> {
        let range = self.range(start..start.saturating_add(into.len()))?;
        let elements = self.elements(&range);
        match size_of::<T>() {
            1 => each(elements.bytes, into, |cell, to| set_to(to, u64::from(cell.load(Ordering::Relaxed)))),
            2 => each(elements.halves, into, |cell, to| set_to(to, u64::from(cell.load(Ordering::Relaxed)))),
            4 => each(elements.words, into, |cell, to| set_to(to, u64::from(cell.load(Ordering::Relaxed)))),
            8 => each(elements.doubles, into, |cell, to| set_to(to, cell.load(Ordering::Relaxed))),
            _ => range.zip(into).try_for_each(|(index, to)| {
                *to = self.get(index)?;
                Ok(())
            }),
        }
    }

    /// Copies all of `from` in, from `start` on.
    ///
    /// # Errors
    ///
    /// `is_invalid`, before anything is copied, when that is more than there are; else see [`Array`].
    pub fn copy_from(&self, start: usize, from: &[T]) -> Result<()> {
        let range = self.range(start..start.saturating_add(from.len()))?;
        let elements = self.elements(&range);
        match size_of::<T>() {
            1 => {
                elements.bytes.iter().zip(from).for_each(|(cell, v)| cell.store(bits32_of(v) as u8, Ordering::Relaxed))
            }
            2 => elements
                .halves
                .iter()
                .zip(from)
                .for_each(|(cell, v)| cell.store(bits32_of(v) as u16, Ordering::Relaxed)),
            4 => elements.words.iter().zip(from).for_each(|(cell, v)| cell.store(bits32_of(v), Ordering::Relaxed)),
            8 => elements.doubles.iter().zip(from).for_each(|(cell, v)| cell.store(bits64_of(v), Ordering::Relaxed)),
            _ => range.zip(from).try_for_each(|(index, value)| self.set(index, *value))?,
        }
        Ok(())
    }
}

#[inline]
fn each<C, T>(cells: &[C], into: &mut [T], one: impl Fn(&C, &mut T) -> Result<()>) -> Result<()> {
    cells.iter().zip(into).try_for_each(|(cell, to)| one(cell, to))
}

#[inline]
fn set_to<T: PlainData>(to: &mut T, bits: u64) -> Result<()> {
    *to = try_from_bits(bits)?;
    Ok(())
}
