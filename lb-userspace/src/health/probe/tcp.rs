//! Whether a real server accepts connections. How one is closed again is the path's: `path/direct.rs`.

use super::{Answer, Attempt, Failure};
use crate::config::Tcp;

pub(super) async fn ask(tcp: &Tcp, attempt: &Attempt<'_>) -> Result<Answer, Failure> {
    attempt.connect(tcp.port).await.map(|_| Answer::default())
}
