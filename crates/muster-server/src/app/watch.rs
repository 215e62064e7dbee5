//! Watching what changes: streams that go on where they broke.
//!
//! A watcher pulls: it reads the log from its cursor whenever the store commits, and holds one page at the most. One that
//! does not read costs nobody anything, and finds everything when it comes back.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use muster_domain::inbound::{Inbound, InboundId};
use muster_domain::{BotId, TenantId, Violation};
use muster_store::Changes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::App;
use super::error::{Error, Result};

/// Changes in one answer.
const PAGE: u32 = 1_000;

/// An answer without changes tells that the stream lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Least time between two looks at the log: under load it holds some hundred changes by then, and commits are not each paid
/// for by every watcher.
const LOOK_GAP: Duration = Duration::from_millis(20);

/// Where a watcher begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start<C> {
    /// With what comes from now on.
    Now,
    /// With the oldest that is kept.
    Oldest,
    /// After this point.
    After(C),
}

/// Changes of messages, page by page. A page without changes is a sign of life; its cursor counts.
pub(crate) async fn messages(
    app: Arc<App>,
    tenant: TenantId,
    start: Start<u64>,
    bot: Option<BotId>,
) -> Result<impl Stream<Item = Result<Changes>> + Send> {
    check_bot(&app, &tenant, bot.as_ref()).await?;
    let head = app.store.changes_head(&tenant).await?;
    let cursor = match start {
        Start::Now => head,
        Start::Oldest => 0,
        Start::After(cursor) if cursor > head => {
            return Err(Violation::new("cursor", "lies ahead of the log: it is of another server or database").into());
        }
        Start::After(cursor) => cursor,
    };
    // Fails at once, and not in the midst of the stream, if the cursor is too old.
    app.store.changes_since(&tenant, cursor, bot.as_ref(), 1).await?;
    let watcher = MessageWatcher { pace: Pace::new(&app), app, tenant, bot, cursor };
    Ok(futures::stream::try_unfold(watcher, |mut watcher| async move {
        let page = watcher.next().await?;
        Ok(Some((page, watcher)))
    }))
}

struct MessageWatcher {
    app: Arc<App>,
    tenant: TenantId,
    bot: Option<BotId>,
    cursor: u64,
    pace: Pace,
}

impl MessageWatcher {
    async fn next(&mut self) -> Result<Changes> {
        if self.pace.is_first() {
            self.pace.answered();
            return Ok(Changes { changes: Vec::new(), cursor: self.cursor });
        }
        loop {
            self.pace.look().await;
            let page = self.app.store.changes_since(&self.tenant, self.cursor, self.bot.as_ref(), PAGE).await?;
            let moved = page.cursor > self.cursor;
            self.cursor = page.cursor;
            if !page.changes.is_empty() {
                self.pace.answered();
                return Ok(page);
            }
            // The filter hid a whole page: the next one may show something.
            if !moved && self.pace.wait().await? == Waited::Quiet {
                self.pace.answered();
                return Ok(page);
            }
        }
    }
}

/// Some inbound messages, and where to go on.
#[derive(Debug)]
pub(crate) struct InboundPage {
    /// In the order in which they became durable.
    pub(crate) messages: Vec<Inbound>,
    /// The latest one that was told; `None` before the first.
    pub(crate) cursor: Option<InboundId>,
}

/// Inbound messages, page by page. A page without messages is a sign of life.
pub(crate) async fn inbound(
    app: Arc<App>,
    tenant: TenantId,
    start: Start<InboundId>,
    bot: Option<BotId>,
) -> Result<impl Stream<Item = Result<InboundPage>> + Send> {
    check_bot(&app, &tenant, bot.as_ref()).await?;
    let cursor = match start {
        Start::Now => {
            let newest = app.store.inbound_list(&tenant, &Default::default(), None, 1).await?;
            newest.first().map(|inbound| inbound.id)
        }
        Start::Oldest => None,
        Start::After(id) => Some(id),
    };
    let watcher = InboundWatcher { pace: Pace::new(&app), app, tenant, bot, cursor };
    Ok(futures::stream::try_unfold(watcher, |mut watcher| async move {
        let page = watcher.next().await?;
        Ok(Some((page, watcher)))
    }))
}

struct InboundWatcher {
    app: Arc<App>,
    tenant: TenantId,
    bot: Option<BotId>,
    cursor: Option<InboundId>,
    pace: Pace,
}

impl InboundWatcher {
    async fn next(&mut self) -> Result<InboundPage> {
        if self.pace.is_first() {
            self.pace.answered();
            return Ok(InboundPage { messages: Vec::new(), cursor: self.cursor });
        }
        loop {
            self.pace.look().await;
            let messages = self.app.store.inbound_since(&self.tenant, self.cursor, self.bot.as_ref(), PAGE).await?;
            self.cursor = messages.last().map(|inbound| inbound.id).or(self.cursor);
            if !messages.is_empty() || self.pace.wait().await? == Waited::Quiet {
                self.pace.answered();
                return Ok(InboundPage { messages, cursor: self.cursor });
            }
        }
    }
}

async fn check_bot(app: &App, tenant: &TenantId, bot: Option<&BotId>) -> Result<()> {
    match bot {
        Some(bot) => super::bots::get(app, tenant, bot).await.map(|_| ()),
        None => Ok(()),
    }
}

/// When a watcher looks, and when it gives a sign of life.
struct Pace {
    committed: watch::Receiver<u64>,
    inbound: watch::Receiver<u64>,
    stopping: tokio_util::sync::CancellationToken,
    looked: Option<Instant>,
    answered: Option<Instant>,
}

/// Why a watcher looks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waited {
    /// Something was committed.
    Commit,
    /// Nothing was, for as long as a stream may be silent.
    Quiet,
}

impl Pace {
    fn new(app: &App) -> Self {
        Pace {
            committed: app.store.committed(),
            inbound: app.inbound.clone(),
            stopping: app.stopping.clone(),
            looked: None,
            answered: None,
        }
    }

    /// Nothing was answered yet: the first answer tells the cursor at once.
    fn is_first(&self) -> bool {
        self.answered.is_none()
    }

    fn answered(&mut self) {
        self.answered = Some(Instant::now());
    }

    /// Waits for the next look, and counts every commit up to now as seen by it.
    async fn look(&mut self) {
        if let Some(looked) = self.looked {
            tokio::time::sleep_until(looked + LOOK_GAP).await;
        }
        self.looked = Some(Instant::now());
        self.committed.mark_unchanged();
        self.inbound.mark_unchanged();
    }

    async fn wait(&mut self) -> Result<Waited> {
        let quiet = self.answered.unwrap_or_else(Instant::now) + SIGN_OF_LIFE;
        tokio::select! {
            changed = self.committed.changed() => changed.map(|()| Waited::Commit).map_err(|_| Error::stopping()),
            changed = self.inbound.changed() => changed.map(|()| Waited::Commit).map_err(|_| Error::stopping()),
            () = tokio::time::sleep_until(quiet) => Ok(Waited::Quiet),
            () = self.stopping.cancelled() => Err(Error::stopping()),
        }
    }
}
