//! The registered halves of a queue: what lets one side know that the other is gone.

use crate::error::Result;
use crate::handle::channel::{Channel, Side};
use crate::handle::codec::Item;
use crate::handle::queue::Queue;
use crate::raw::signal::Signal;
use core::fmt;
use core::ops::Deref;

macro_rules! half {
    ($(#[$doc:meta])* $half:ident, $side:ident, $waiting:ident) => {
        $(#[$doc])*
        pub struct $half<T: Item> {
            queue: Queue<T>,
        }

        impl<T: Item> $half<T> {
            pub(crate) fn register(queue: Queue<T>) -> Result<Self> {
                queue.channel.$side.join(queue.channel.body())?;
                Ok(Self { queue })
            }

            /// One more registered handle.
            ///
            /// # Errors
            ///
            /// `is_forked`, `is_corrupt`.
            pub fn try_clone(&self) -> Result<Self> {
                Self::register(self.queue.clone())
            }

            /// The queue itself.
            pub fn queue(&self) -> &Queue<T> {
                &self.queue
            }

            /// A registered handle of the calling process, where this one was inherited by `fork`.
            ///
            /// # Errors
            ///
            /// As [`Queue::reattach`].
            pub fn reattach(&self) -> Result<Self> {
                Self::register(self.queue.reattach()?)
            }
        }

        /// What the queue can do, on this side and in general.
        impl<T: Item> Deref for $half<T> {
            type Target = Queue<T>;
            #[inline]
            fn deref(&self) -> &Queue<T> {
                &self.queue
            }
        }

        impl<T: Item> Drop for $half<T> {
            fn drop(&mut self) {
                let channel: &Channel = &self.queue.channel;
                let (side, waiting): (&Side, &Signal) = (&channel.$side, channel.$waiting());
                side.leave(channel.body(), waiting);
            }
        }

        /// Travels as its queue; whoever reads it is registered then.
        impl<T: Item> serde::Serialize for $half<T> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.queue.serialize(serializer)
            }
        }

        impl<'de, T: Item> serde::Deserialize<'de> for $half<T> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::register(Queue::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }

        impl<T: Item> fmt::Debug for $half<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($half)).field("queue", &self.queue).finish()
            }
        }
    };
}

half! {
    /// A registered sender of a [`Queue`]; everything a queue can do, and known to be there.
    ///
    /// While one lives, receivers wait. When the last one was dropped or died with its process, a drained `recv`
    /// says `is_disconnected`.
    ///
    /// # When a process dies
    ///
    /// Its senders are gone, as if they had been dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = mutirao::Queue::<u32>::new(4)?;
    /// let sender = queue.sender()?;
    /// sender.send(7)?;
    /// drop(sender);
    /// assert_eq!(queue.recv()?, 7);
    /// assert!(queue.recv().is_err_and(|e| e.is_disconnected()));
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    Sender, senders, items
}

half! {
    /// A registered receiver of a [`Queue`]; everything a queue can do, and known to be there.
    ///
    /// While one lives, senders wait for room. When the last one was dropped or died with its process, a `send`
    /// that finds no room says `is_disconnected`.
    ///
    /// # When a process dies
    ///
    /// Its receivers are gone, as if they had been dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = mutirao::Queue::<u32>::new(1)?;
    /// drop(queue.receiver()?);
    /// queue.send(1)?;                                             // there is room
    /// assert!(queue.send(2).is_err_and(|e| e.is_disconnected()));
    /// # Ok::<(), mutirao::Error>(())
    /// ```
    Receiver, receivers, space
}

impl<T: Item> Queue<T> {
    /// A registered sender: when the last of them is gone, a drained `recv` says `is_disconnected` instead of waiting
    /// for ever.
    ///
    /// # Errors
    ///
    /// `is_forked`, `is_corrupt`.
    pub fn sender(&self) -> Result<Sender<T>> {
        Sender::register(self.clone())
    }

    /// A registered receiver: when the last of them is gone, a `send` that finds no room says `is_disconnected`
    /// instead of waiting for ever.
    ///
    /// # Errors
    ///
    /// `is_forked`, `is_corrupt`.
    pub fn receiver(&self) -> Result<Receiver<T>> {
        Receiver::register(self.clone())
    }
}
