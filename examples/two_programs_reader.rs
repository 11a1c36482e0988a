//! The other of two programs that know of each other nothing but a name: see `two_programs_writer`. This one takes
//! orders, and says what they come to.

use mutirao::{Name, Queue, Segment, Value};
use serde::{Deserialize, Serialize};
use zerocopy::{Immutable, IntoBytes, TryFromBytes};

/// What the two have agreed on.
const SEGMENT: &str = "mutirao-two-programs";
const ORDERS: Name = Name::new("orders").type_tag("order/1");
const RECEIPT: Name = Name::new("receipt").type_tag("receipt/1");

/// The writer calls it an order.
#[derive(Serialize, Deserialize)]
struct Purchase {
    id: u64,
    text: String,
    price: u64,
}

/// The writer calls it a receipt.
#[derive(Clone, Copy, TryFromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Total {
    purchases: u64,
    price: u64,
}

fn main() -> mutirao::Result<()> {
    let shop = meet()?;
    let purchases = Queue::<Purchase>::open_or_create(&shop, ORDERS, 16)?;
    let total = Value::<Total>::open_or_create(&shop, RECEIPT, Total { purchases: 0, price: 0 })?;
    let is_paid = Queue::<()>::open_or_create(&shop, "is paid", 1)?;

    let mut sum = Total { purchases: 0, price: 0 };
    for purchase in &purchases {
        let purchase = purchase?;
        assert_eq!(purchase.id, sum.purchases, "lost, doubled or out of order: {}", purchase.text);
        sum = Total { purchases: sum.purchases + 1, price: sum.price + purchase.price };
    }
    total.store(sum)?;
    is_paid.send(())?;
    println!("reader {}: {} purchases for {} cents", std::process::id(), sum.purchases, sum.price);
    Ok(())
}

/// As in the other program.
fn meet() -> mutirao::Result<Segment> {
    loop {
        match Segment::create(SEGMENT, 1 << 20) {
            Err(error) if error.is_exists() => match Segment::open(SEGMENT) {
                Err(error) if error.is_not_found() => {}
                opened => return opened,
            },
            created => return created,
        }
    }
}
