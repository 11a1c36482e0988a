//! Algorithms as state machines over atomics. They own no storage, see no payload and ask about lives
//! through a parameter; what they hand out is a permission. All-zero words are valid and empty, and any
//! other words are at worst reported as corrupt.
#![allow(dead_code)] // models, and objects still to come, use more of a machine than today's handles

pub mod blocks;
pub mod catalog;
pub mod hash;
pub mod lease_recover;
pub mod lease_word;
pub mod leases;
pub mod list;
pub mod list_rebuild;
pub mod list_word;
pub mod list_write;
pub mod lock;
pub mod page_search;
pub mod pages;
pub mod pending;
pub mod permits;
pub mod range_entry;
pub mod ranges;
pub mod registry;
pub mod ring;
pub mod ring_aside;
pub mod ring_recover;
pub mod ring_wait;
pub mod ring_word;
pub mod roster;
pub mod rw_lock;
pub mod signal;
pub mod table;
pub mod table_change;
pub mod table_desk;
pub mod table_find;
pub mod table_forget;
pub mod table_line;
pub mod table_lock;
pub mod table_recover;
pub mod table_split;
pub mod table_word;
pub mod version;

#[cfg(all(test, not(mutirao_model)))]
mod ring_tests;
