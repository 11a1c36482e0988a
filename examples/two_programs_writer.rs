//! One of two programs that know of each other nothing but a name. This one sends orders.
//!
//! ```text
//! cargo run --release --example two_programs_writer          # in one terminal
//! cargo run --release --example two_programs_reader          # in another; either may come first
//! ```
//!
//! They share no code: each has its own idea of what an order is, and both call it `order/1`.

use mutirao::{Name, Queue, Segment, Value};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use zerocopy::{Immutable, IntoBytes, TryFromBytes};

/// The segment, and the tags that both programs have agreed on.
const SEGMENT: &str = "mutirao-two-programs";
const ORDERS: Name = Name::new("orders").type_tag("order/1");
const RECEIPT: Name = Name::new("receipt").type_tag("receipt/1");

const COUNT: u64 = 1000;

/// An item of a queue is any serde type.
#[derive(Serialize, Deserialize)]
struct Order {
    number: u64,
    what: String,
    cents: u64,
}

/// What lies in shared memory as it is has a layout, and derives that say so.
#[derive(Clone, Copy, PartialEq, Debug, TryFromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Receipt {
    orders: u64,
    cents: u64,
}

fn main() -> mutirao::Result<ExitCode> {
    let shop = meet()?;
    let orders = Queue::<Order>::open_or_create(&shop, ORDERS, 16)?;
    let receipt = Value::<Receipt>::open_or_create(&shop, RECEIPT, Receipt { orders: 0, cents: 0 })?;
    let is_paid = Queue::<()>::open_or_create(&shop, "is paid", 1)?;

    let mut expected = Receipt { orders: 0, cents: 0 };
    for number in 0..COUNT {
        let order = Order { number, what: format!("{} loaves", number % 7 + 1), cents: 250 * (number % 7 + 1) };
        expected = Receipt { orders: expected.orders + 1, cents: expected.cents + order.cents };
        orders.send(order)?;
    }
    orders.close();
    println!("writer {}: sent {COUNT} orders", std::process::id());
    is_paid.recv()?;
    let receipt = receipt.try_load()?;
    println!("writer {}: the receipt says {} orders, {} cents", std::process::id(), receipt.orders, receipt.cents);
    Ok(if receipt == expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The segment in which the other program is or will be. What an earlier pair left when it was killed is replaced.
fn meet() -> mutirao::Result<Segment> {
    loop {
        match Segment::create(SEGMENT, 1 << 20) {
            Err(error) if error.is_exists() => match Segment::open(SEGMENT) {
                Err(error) if error.is_not_found() => {} // it was just about to go
                opened => return opened,
            },
            created => return created,
        }
    }
}
