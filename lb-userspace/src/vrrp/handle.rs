//! How the rest of the daemon speaks to the thread of the virtual routers.

use tokio::sync::{mpsc, oneshot};

use super::driver::Order;
use super::status::RouterStatus;

/// Gives orders to a [`Driver`](super::Driver). Clones are the same.
#[derive(Clone, Debug)]
pub struct Handle(mpsc::UnboundedSender<Order>);

impl Handle {
    /// One whose orders somebody receives, or nobody.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Order>) {
        let (orders, received) = mpsc::unbounded_channel();
        (Self(orders), received)
    }

    /// Gives an order. Whoever has ended needs none.
    pub fn order(&self, order: Order) {
        let _ = self.0.send(order);
    }

    /// What there is to know of all virtual routers.
    pub async fn statuses(&self) -> Vec<RouterStatus> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Ask(answer));
        answered.await.unwrap_or_default()
    }

    /// Has all virtual routers end: masters when somebody has taken over, or nobody has in time. Ready then.
    pub async fn shut_down(&self) {
        let (done, ended) = oneshot::channel();
        self.order(Order::ShutDown(done));
        // It has ended already.
        let _ = ended.await;
    }
}
