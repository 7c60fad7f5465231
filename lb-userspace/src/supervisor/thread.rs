//! Threads of the daemon that nobody else's work delays.

use tokio::sync::oneshot;

use super::RunError;

/// Runs, on a thread of its own, what `make` makes; both within a runtime of its own. Ready when that has ended.
///
/// # Errors
/// What `make` says; [`RunError::Os`] if there can be no more threads.
pub(super) fn on_own_thread<R, F>(
    name: &'static str,
    make: impl FnOnce() -> Result<R, RunError>,
) -> Result<impl Future<Output = ()>, RunError>
where
    R: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()>,
{
    let started = |error| RunError::Os("start a thread", error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(started)?;
    let made = {
        // Sockets and tasks that it begins with belong to that runtime.
        let _entered = runtime.enter();
        make()?
    };
    let (ended, end) = oneshot::channel::<()>();
    let run = move || {
        runtime.block_on(made());
        drop(ended);
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(started)?;
    Ok(async {
        // Also if it has panicked.
        let _ = end.await;
    })
}
