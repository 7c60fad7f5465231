//! Whether a real server answers ICMP echo requests.

use super::{Answer, Attempt, Failure, NetworkFailure};

pub(super) async fn ask(attempt: &Attempt<'_>) -> Result<Answer, Failure> {
    attempt.awaits("no echo reply");
    match attempt.path.echo().await {
        Ok(()) => Ok(Answer::default()),
        Err(error) => {
            Err(NetworkFailure::new(&error, attempt.path, None, "send an ICMP echo request").into())
        }
    }
}
