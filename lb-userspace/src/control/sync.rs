//! `/v1/sync`: connections shared with other directors.

use std::sync::Arc;

use super::failure::Failure;
use super::server::Shared;
use crate::sync::SyncStatus;

/// `GET /v1/sync`.
pub(super) async fn sync(shared: Arc<Shared>) -> Result<SyncStatus, Failure> {
    Ok(shared.sync.status())
}
