//! The runtime under openraft: tokio's, but that a moment which it waits for comes with the agent's own next tick.
//! openraft looks at its timers fifty times a second, mostly to find nothing due; that woke an idle voter more often than
//! all its peers did.

use crate::clock;
use openraft::{AsyncRuntime, Instant as _, OptionalSend};
use openraft_rt_tokio::TokioRuntime;
use std::{future::Future, time::Duration};

/// What is nearer is meant as it is said: openraft gathers what the disk completes for a microsecond.
const NEAR: Duration = Duration::from_millis(1);

fn wait(left: Duration) -> Duration {
    if left < NEAR { left } else { clock::until_tick(left) }
}

#[derive(Debug)]
pub(crate) struct Runtime(TokioRuntime);

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        let left = deadline.saturating_duration_since(Self::Instant::now());
        TokioRuntime::sleep(wait(left))
    }

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn a_moment_comes_with_a_tick_never_early_and_what_is_near_comes_in_time() {
        let us = Duration::from_micros;
        assert_eq!(wait(us(1)), us(1));
        let waits: Vec<Duration> = [2_000, 17_000, 30_000].map(|left| wait(us(left))).into();
        let all_on_one_grid = waits.iter().all(|w| {
            let apart = w.abs_diff(waits[0]).as_micros() % clock::TICK.as_micros();
            apart.min(clock::TICK.as_micros() - apart) < 5_000
        });
        assert!(all_on_one_grid, "{waits:?}");
        let (began, left) = (Instant::now(), Duration::from_millis(70));
        Runtime::sleep_until(<Runtime as AsyncRuntime>::Instant::now() + left).await;
        assert!(began.elapsed() >= left);
    }
}
