//! Models of the raw machines: every order of the steps of two or three actors, one of whom dies at each of its
//! steps. `cargo loom [name]` explores them with loom, `cargo shuttle` runs them at random with more threads.
#![cfg(mutirao_model)]

mod blocks;
mod catalog;
mod lease_edges;
mod lease_harness;
mod leases;
mod list;
mod lock;
mod loops;
mod pages;
mod pending;
mod permits;
mod ranges;
mod registry;
mod ring;
mod ring_death;
mod ring_edges;
mod ring_harness;
mod roster;
mod rw_lock;
mod selftest;
mod signal;
mod support;
mod table;
mod table_death;
mod table_edges;
mod table_harness;
mod version;
