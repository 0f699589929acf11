//! `holdfast demo`: a whole cluster on this machine, as real as it gets on one, that loses a host and recovers.
//!
//! It uses what any operator has: the binary, its configuration, its public API. And it believes nothing: the service
//! vouches for itself, the alerts are received and verified.

mod cluster;
mod error;
mod hosts;
mod processes;
mod receiver;
pub mod service;
mod silence;
mod sources;
mod story;
mod timeline;

use crate::{cli::DemoArgs, wire::cli_client::CliClient};
use cluster::{Placed, until};
use cluster_core::timing::LOCAL;
use error::DemoError;
use hosts::Hosts;
use sources::Asker;
use std::{process::ExitCode, time::Duration};
use story::{Story, Told};
use timeline::{Timeline, now_ms, say, seconds};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// Of the replicated sample service.
pub const REPLICAS: u16 = 3;
/// With `--once` everything is over by then, well or not.
const WHOLE_LIMIT: Duration = Duration::from_secs(30);
/// Each step is given up after this.
const STEP_LIMIT: Duration = Duration::from_secs(12);
/// When the host loses its power, at the earliest: there should be something to see before.
const POWER_OFF_AT_MS: u64 = 3_000;
/// How long everything runs elsewhere before the host comes back.
const ABSENCE: Duration = Duration::from_millis(1_000);
/// How long after the end a second alert would still be noticed.
const AFTERMATH: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(20);
/// How often dead children are collected once the story is told.
const REAP_EVERY: Duration = Duration::from_millis(200);
const EXIT_INTERRUPTED: u8 = 130;

/// Runs the demo; its last line is `PASS` or `FAIL: why`.
#[must_use]
pub fn main(args: DemoArgs) -> ExitCode {
    let outcome = prepare().and_then(|runtime| runtime.block_on(watched(args)));
    match outcome {
        Ok(()) => {
            say("PASS");
            ExitCode::SUCCESS
        }
        Err(why) => {
            say(&format!("FAIL: {why}"));
            match why {
                DemoError::Interrupted => ExitCode::from(EXIT_INTERRUPTED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// One thread: the agents are this thread's children, and end with it.
fn prepare() -> Result<tokio::runtime::Runtime, DemoError> {
    let failed = |what| move |cause| DemoError::Machine { what, cause };
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|e| failed("take care of orphans")(e.into()))?;
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed("start the runtime"))
}

/// The demo until its end, its limit or a signal. Whichever it is, everything that was started is ended.
async fn watched(args: DemoArgs) -> Result<(), DemoError> {
    let listen = |kind| signal(kind).map_err(|cause| DemoError::Machine { what: "wait for signals", cause });
    let mut int = listen(SignalKind::interrupt())?;
    let mut term = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let demo = async {
        if !args.once {
            return stay(args).await;
        }
        let late = |_| DemoError::Late {
            what: "the end of the story".into(),
            limit_ms: WHOLE_LIMIT.as_millis(),
            detail: String::new(),
        };
        timeout(WHOLE_LIMIT, run(args)).await.map_err(late)?.map(drop)
    };
    tokio::select! {
        // First: once the story is told, Ctrl-C is its good end.
        biased;
        outcome = demo => outcome,
        _ = int.recv() => Err(DemoError::Interrupted),
        _ = term.recv() => Err(DemoError::Interrupted),
        _ = hangup.recv() => Err(DemoError::Interrupted),
    }
}

/// The story, then a running cluster to look at, until Ctrl-C.
async fn stay(args: DemoArgs) -> Result<(), DemoError> {
    let mut demo = run(args).await?;
    demo.invite();
    let mut int = signal(SignalKind::interrupt())
        .map_err(|cause| DemoError::Machine { what: "wait for signals", cause })?;
    let mut collect = tokio::time::interval(REAP_EVERY);
    loop {
        tokio::select! {
            biased;
            _ = int.recv() => return Ok(()),
            // Whoever looks may also kill: what ends now is no failure of the demo.
            _ = collect.tick() => processes::reap(),
        }
    }
}

/// The whole story. What it returns still runs.
async fn run(args: DemoArgs) -> Result<Demo, DemoError> {
    let mut demo = Demo::found(args.nodes).await?;
    match demo.tell().await {
        Ok(()) => Ok(demo),
        Err(why) => {
            demo.hosts.show_warnings();
            Err(why)
        }
    }
}

struct Demo {
    // Before the hosts, so that it ends before them.
    tasks: JoinSet<()>,
    hosts: Hosts,
    asker: Asker,
    timeline: Option<Timeline>,
    telling: mpsc::Sender<Told>,
    told: mpsc::Receiver<Told>,
    client: CliClient,
    victim: usize,
}

impl Demo {
    /// A cluster, from nothing.
    async fn found(nodes: u16) -> Result<Self, DemoError> {
        let mut hosts = Hosts::lay_out(nodes)?;
        for index in 0..hosts.all.len() {
            hosts.power_on(index)?;
        }
        let address = hosts.all[0].grpc.to_string();
        let count = hosts.all.len();
        let (client, status) = {
            let founding = until("the cluster being founded", STEP_LIMIT, || cluster::whole(&address, count));
            alongside(&mut hosts, founding).await?
        };
        let mut timeline = Timeline::new(now_ms());
        let (first, last) = (hosts.all[0].grpc, hosts.all[count - 1].grpc.port());
        let lease = LOCAL.lease.as_millis() / 100;
        let leader = status.leader.unwrap_or_default();
        let line = format!(
            "cluster of {count} on {first}…{last}, leader {leader}, lease {}.{} s",
            lease / 10,
            lease % 10
        );
        timeline.note(now_ms(), &line);
        timeline.finish();
        let (telling, told) = mpsc::channel(sources::TOLD_QUEUE);
        let (tasks, asker) = (JoinSet::new(), Asker::new()?);
        Ok(Self { tasks, hosts, asker, timeline: Some(timeline), telling, told, client, victim: 0 })
    }

    async fn tell(&mut self) -> Result<(), DemoError> {
        let mut story = self.settle_in().await?;
        self.lose_host(&mut story).await?;
        self.bring_back(&mut story).await?;
        self.verify(&mut story).await
    }

    /// Workloads and alerts, until everything runs and answers, and all ears are open.
    async fn settle_in(&mut self) -> Result<Story, DemoError> {
        let secret = receiver::secret();
        let (alerts, delivered) = mpsc::channel(sources::TOLD_QUEUE);
        let port = receiver::start(&mut self.tasks, &secret, alerts)
            .await
            .map_err(|cause| DemoError::Machine { what: "receive alerts", cause })?;
        sources::relay(&mut self.tasks, delivered, self.telling.clone());
        cluster::apply(&self.client, &self.hosts, port, &secret, STEP_LIMIT).await?;
        let placed = self.placed("the services running").await?;
        let mut timeline = self.timeline.take().expect("the timeline is handed on once");
        let line = format!(
            "counter (singleton) on {}, web ({REPLICAS} replicas) on {}",
            placed.counter,
            placed.web.join(" ")
        );
        timeline.note(now_ms(), &line);
        timeline.finish();
        self.victim =
            self.hosts.all.iter().position(|host| host.name == placed.counter).ok_or_else(|| {
                DemoError::Broken(format!(
                    "counter runs on {}, which is no host of this demo",
                    placed.counter
                ))
            })?;
        for (_, host) in self.hosts.all.iter().enumerate().filter(|(index, _)| *index != self.victim) {
            let client = CliClient::connect(&host.grpc.to_string(), None).await?;
            sources::follow(&mut self.tasks, client.clone(), self.telling.clone());
            self.client = client;
        }
        let port = self.hosts.counter_port;
        sources::ask_again_and_again(&mut self.tasks, self.asker.clone(), port, self.telling.clone());
        Ok(Story::new(timeline, placed.counter, self.hosts.all.len() - 1))
    }

    /// Takes the power from the singleton's host, until all that ran there runs elsewhere.
    async fn lose_host(&mut self, story: &mut Story) -> Result<(), DemoError> {
        let wait_ms = story.timeline.until_ms(POWER_OFF_AT_MS).max(u64::from(AFTERMATH.subsec_millis()));
        self.listen(story, Duration::from_millis(wait_ms)).await?;
        story.lost_at_ms = now_ms();
        story.timeline.note(story.lost_at_ms, &format!("{} loses power", story.victim));
        self.hosts.power_off(self.victim)?;
        self.listen_until(story, "recovery", Story::moved).await?;
        let restored = self.placed("every service running again").await?;
        if restored.counter == story.victim || restored.web.contains(&story.victim) {
            return Err(DemoError::Broken(format!("something is still said to run on {}", story.victim)));
        }
        self.listen(story, ABSENCE).await
    }

    async fn bring_back(&mut self, story: &mut Story) -> Result<(), DemoError> {
        story.timeline.note(now_ms(), &format!("{} has power again", story.victim));
        self.hosts.power_on(self.victim)?;
        self.listen_until(story, "the host's return", Story::over).await
    }

    /// Whether all promises were kept.
    async fn verify(&mut self, story: &mut Story) -> Result<(), DemoError> {
        let (client, victim) = (self.client.clone(), story.victim.clone());
        until("the alert's account being settled", STEP_LIMIT, || cluster::account(&client, &victim)).await?;
        self.listen(story, AFTERMATH).await?;
        story.timeline.finish();
        if (story.firing, story.resolved) != (1, 1) {
            let (firing, resolved) = (story.firing, story.resolved);
            let why =
                format!("{firing} firing and {resolved} resolved alerts about {victim} came, not one each");
            return Err(DemoError::Broken(why));
        }
        let runs = service::stamps(&self.hosts.stamps()).map_err(DemoError::Broken)?;
        if let Some(why) = service::overlap(&runs) {
            return Err(DemoError::Broken(format!("two copies of counter: {why}")));
        }
        let [before, after] = runs.as_slice() else {
            return Err(DemoError::Broken(format!("counter ran {} times, not twice", runs.len())));
        };
        let gap = after.first.saturating_sub(before.last) / 1_000_000;
        self.placed("every service still running").await?;
        say(&format!(
            "        one copy of counter at any time: generation {} ended {} before generation {} began; one alert fired and was resolved",
            before.generation,
            seconds(gap),
            after.generation,
        ));
        Ok(())
    }

    async fn placed(&mut self, what: &str) -> Result<Placed, DemoError> {
        let (client, asker) = (self.client.clone(), self.asker.clone());
        until(what, STEP_LIMIT, || cluster::placed(&client, &self.hosts, &asker)).await
    }

    /// Takes in what is told for so long.
    async fn listen(&mut self, story: &mut Story, time: Duration) -> Result<(), DemoError> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.take_in(story).await?;
        }
        Ok(())
    }

    /// Takes in what is told until the story got so far.
    async fn listen_until(
        &mut self,
        story: &mut Story,
        what: &str,
        far: fn(&Story) -> bool,
    ) -> Result<(), DemoError> {
        let give_up = Instant::now() + STEP_LIMIT;
        while !far(story) {
            if Instant::now() >= give_up {
                story.timeline.finish();
                let detail = format!(" (missing: {})", story.missing());
                return Err(DemoError::Late { what: what.into(), limit_ms: STEP_LIMIT.as_millis(), detail });
            }
            self.take_in(story).await?;
        }
        Ok(())
    }

    async fn take_in(&mut self, story: &mut Story) -> Result<(), DemoError> {
        let first = timeout(TICK, self.told.recv()).await.ok().flatten();
        let mut next = first;
        while let Some(told) = next {
            story.take(told);
            next = self.told.try_recv().ok();
        }
        story.timeline.settle();
        self.hosts.check()?;
        match story.wrong.take() {
            None => Ok(()),
            Some(why) => {
                story.timeline.finish();
                Err(DemoError::Broken(why))
            }
        }
    }

    /// How to look at what runs.
    fn invite(&mut self) {
        self.tasks.abort_all();
        let exe = self.hosts.exe.display();
        say("");
        say("The cluster runs on until Ctrl-C, which removes all of it. Look at it from another terminal:");
        say(&format!("  export HOLDFAST_ADDR={}", self.hosts.all[0].grpc));
        for command in ["status", "failure list", "alert list", "workload show counter", "events -f"] {
            say(&format!("  {exe} {command}"));
        }
        say(&format!("  curl http://127.0.0.1:{}/      # counter", self.hosts.counter_port));
        say(&format!("Its files are in {}", self.hosts.root.display()));
    }
}

/// Waits for something, and for no longer than all agents live.
async fn alongside<T>(
    hosts: &mut Hosts,
    waiting: impl Future<Output = Result<T, DemoError>>,
) -> Result<T, DemoError> {
    let mut waiting = std::pin::pin!(waiting);
    loop {
        tokio::select! {
            done = &mut waiting => return done,
            () = sleep(TICK) => hosts.check()?,
        }
    }
}
