//! Orderings with the names of their edges.

/// An ordering that names its edge: `order!(lock_release, Release)`.
///
/// In real builds it is the bare ordering. In models the edge that `MUTIRAO_WEAKEN` names is `Relaxed`, so that
/// `cargo weaken` can show for each row of `docs/ordering.md` that a model needs it.
#[doc(hidden)]
#[macro_export]
#[cfg(not(mutirao_model))]
macro_rules! order {
    ($edge:ident, $order:ident) => {
        $crate::sync::Ordering::$order
    };
}

/// As in real builds, but `Relaxed` when the environment weakens this edge.
#[doc(hidden)]
#[macro_export]
#[cfg(mutirao_model)]
macro_rules! order {
    ($edge:ident, $order:ident) => {
        $crate::sync::model::edge(stringify!($edge), $crate::sync::Ordering::$order)
    };
}
