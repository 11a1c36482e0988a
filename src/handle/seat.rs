//! A small number for each thread of the process, which no other living thread has: with it a thread keeps an entry
//! of a lease table to itself.

use core::cell::Cell;
use std::sync::Mutex;

/// No number: a thread that is ending, or one that came while another was given one.
const NONE: u32 = 0;

/// Numbers in use are below `next` and not in `free`.
struct Numbers {
    next: u32,
    free: Vec<u32>,
}

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers { next: 1, free: Vec::new() });

/// Gives the number back when its thread ends.
struct Returns(u32);

impl Drop for Returns {
    fn drop(&mut self) {
        NUMBER.set(NONE);
        // Not `lock`: in a forked child the lock may be held by a thread that is not there. A number that is not given
        // back is only lost.
        for _ in 0..1000 {
            match NUMBERS.try_lock() {
                Ok(mut numbers) => return numbers.free.push(self.0),
                Err(_) => std::thread::yield_now(),
            }
        }
    }
}

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(NONE) };
    static RETURNS: Cell<Option<Returns>> = const { Cell::new(None) };
}

/// The number of this thread; 0: it has none.
#[inline]
pub(crate) fn thread_number() -> u32 {
    match NUMBER.get() {
        NONE => take_number(),
        number => number,
    }
}

#[cold]
fn take_number() -> u32 {
    // Not `lock`, as below.
    let Ok(mut numbers) = NUMBERS.try_lock() else { return NONE };
    let Numbers { next, free } = &mut *numbers;
    let number = free.pop().unwrap_or_else(|| {
        *next += 1;
        *next - 1
    });
    match RETURNS.try_with(|returns| returns.set(Some(Returns(number)))) {
        Ok(()) => {
            NUMBER.set(number);
            number
        }
        // The thread ends.
        Err(_) => {
            free.push(number);
            NONE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::thread_number;
    use std::collections::BTreeSet;
    use std::sync::Barrier;
    use std::thread;

    #[test]
    fn living_threads_have_different_numbers() {
        let (together, mut seen) = (Barrier::new(4), BTreeSet::new());
        thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut number = thread_number();
                        while number == 0 {
                            number = thread_number();
                        }
                        assert_eq!(number, thread_number());
                        together.wait();
                        number
                    })
                })
                .collect();
            seen.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
        });
        assert_eq!(seen.len(), 4);
    }
}
