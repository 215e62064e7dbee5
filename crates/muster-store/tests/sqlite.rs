//! The suite of the contract on SQLite, and what only a file can do: be reopened, be damaged, be somebody else's.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use muster_domain::bot::{BotSpec, Hold};
use muster_domain::desired::DesiredVersion;
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::limits::{SILENCE_MAX, UNCERTAIN_WAIT_DEFAULT};
use muster_domain::message::{Idempotency, NewMessage, Outcome};
use muster_domain::window::SendingWindow;
use muster_domain::{IdStart, TenantId, Timestamp};
use muster_store::conformance::fixture::{Fixture, MovedClock, bot, bot_spec, outcome, refused, sent, text};
use muster_store::sqlite::SqliteStore;
use muster_store::{AcceptResult, Clock, Expect, FleetWrite, RetentionPolicy, SessionOpen, Store, StoreError};
use sqlx::{Connection as _, SqliteConnection};

async fn open(clock: Clock) -> (Arc<dyn Store>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open_by(&dir.path().join("muster.db"), clock, IdStart::from_entropy(0)).await.unwrap();
    (Arc::new(store), dir)
}

muster_store::conformance_tests!(open);

async fn open_error(path: &Path) -> StoreError {
    match SqliteStore::open(path).await {
        Ok(_) => panic!("the database was opened"),
        Err(error) => error,
    }
}

/// Opens a file again whose store was dropped: its tasks may take a moment to let it go.
async fn reopen(path: &Path) -> Arc<dyn Store> {
    for _ in 0..500 {
        match SqliteStore::open(path).await {
            Ok(store) => return Arc::new(store),
            Err(StoreError::Locked(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the file stayed locked");
}

/// A connection of our own, beside the store or after it.
async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnection::connect(path.to_str().unwrap()).await.unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("muster.db");
    let fixture = Fixture::new(reopen(&path).await).await;
    let session = fixture.open_connected().await;
    let over = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(over, sent("X"))]).await;
    let under_way = fixture.dispatched(&session).await;
    let parked = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(parked, refused(Duration::from_secs(600)))]).await;
    let waiting = fixture.accept(vec![text("b", "+5511900000001", "waits")]).await[0];
    let ids = [over.message_id, parked.message_id, under_way.message_id, waiting];
    let mut before = Vec::new();
    for id in ids {
        before.push((fixture.message(id).await, fixture.trace(id).await));
    }
    let (head, tenant) = (fixture.store.changes_head(&fixture.tenant).await.unwrap(), fixture.tenant.clone());
    // Not closed: as if the process had been killed.
    drop(fixture);

    let fixture = Fixture::again(reopen(&path).await, tenant);
    for (id, (message, trace)) in ids.into_iter().zip(before) {
        assert_eq!(fixture.message(id).await, message);
        assert_eq!(fixture.trace(id).await, trace);
    }
    assert_eq!(fixture.store.message_counts(&fixture.tenant, &[]).await.unwrap()[0].total(), 4);
    assert_eq!(fixture.store.changes_head(&fixture.tenant).await.unwrap(), head);
    let node = fixture.store.node_get(&fixture.tenant, &session.node).await.unwrap().unwrap();
    assert!(!node.online, "the session ended with the process");
    // Ids, changes and epochs go on behind the old ones.
    let id = fixture.accept(vec![text("a", "+5511900000009", "after")]).await[0];
    assert!(id > waiting);
    let changes = fixture.store.changes_since(&fixture.tenant, head, None, 9).await.unwrap();
    assert_eq!((changes.changes.len(), changes.cursor), (1, head + 1));
    let again = SessionOpen { report_head: 4, ..fixture.opening() };
    let opened = fixture.store.session_open(again).await.unwrap();
    assert!(opened.session.epoch > session.epoch);
    assert_eq!((opened.report_committed, opened.returned), (4, 1));
}

#[tokio::test]
async fn a_desired_state_of_another_history_is_told_from_its_namesake() {
    let dir = tempfile::tempdir().unwrap();
    let (lost, restored) = (dir.path().join("lost.db"), dir.path().join("restored.db"));
    let open = async |path: &Path, draw: u32| {
        let store = SqliteStore::open_by(path, Clock::system(), IdStart::from_entropy(draw)).await.unwrap();
        Fixture::again(Arc::new(store), TenantId::default_tenant())
    };
    let close = async |fixture: Fixture| fixture.store.close().await;
    let latest = async |fixture: &Fixture, said: DesiredVersion| {
        let opened = SessionOpen { desired: said, ..fixture.opening() };
        let opened = fixture.store.session_open(opened).await.unwrap();
        let state = fixture.store.desired_state(&opened.session, 0).await.unwrap();
        fixture.store.desired_applied(&opened.session, state.version, vec![]).await.unwrap();
        (opened.desired_base, DesiredVersion { version: state.version, lineage: state.lineage })
    };
    let hold = Hold { reason: "check".into(), author: "me".into(), since: Timestamp::now(), until: None };

    let fixture = Fixture::new(open(&lost, 1).await.store).await;
    let (_, backed_up) = latest(&fixture, DesiredVersion::default()).await;
    close(fixture).await;
    std::fs::copy(&lost, &restored).unwrap();
    let fixture = open(&lost, 2).await;
    assert_eq!(latest(&fixture, backed_up).await.0, backed_up.version, "it is as the opening before left it");
    fixture.write(vec![FleetWrite::SetHold(bot("a"), Some(hold.clone()))]).await.unwrap();
    let (base, known) = latest(&fixture, backed_up).await;
    assert_eq!((base, known.version), (0, backed_up.version + 1));
    close(fixture).await;

    let fixture = open(&restored, 3).await;
    assert_eq!(latest(&fixture, known).await, (0, backed_up));
    fixture.write(vec![FleetWrite::SetHold(bot("b"), Some(hold))]).await.unwrap();
    let (base, namesake) = latest(&fixture, known).await;
    assert_eq!((base, namesake.version), (0, known.version));
    assert_ne!(namesake.lineage, known.lineage);
}

/// What a text of the bot `a` finds ahead of it that is not valid any more, and so can wait for nobody.
async fn ahead(fixture: &Fixture) -> u64 {
    let late = NewMessage { expire_time: Timestamp::now(), ..text("a", "+5511900000001", "late") };
    match fixture.store.message_accept(&fixture.tenant, vec![late]).await.unwrap()[..] {
        [AcceptResult::BacklogFull(full)] => full.waiting,
        ref other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_backlog_is_known_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("muster.db");
    let fixture = Fixture::new(reopen(&path).await).await;
    let session = fixture.open_connected().await;
    fixture.dispatched(&session).await;
    let now = || text("a", "+5511900000001", "now");
    let later = NewMessage { not_before: Some(Timestamp::now() + Duration::from_secs(600)), ..now() };
    let later = fixture.accept(vec![now(), now(), later.clone(), later]).await[2];
    assert_eq!(ahead(&fixture).await, 3);
    let tenant = fixture.tenant.clone();
    drop(fixture);

    let fixture = Fixture::again(reopen(&path).await, tenant);
    assert_eq!(ahead(&fixture).await, 3);
    fixture.store.message_cancel(&fixture.tenant, later).await.unwrap();
    assert_eq!(ahead(&fixture).await, 3);
    fixture.accept(vec![now()]).await;
    assert_eq!(ahead(&fixture).await, 4);
}

#[tokio::test]
async fn a_write_that_fails_leaves_the_backlog_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("muster.db");
    let fixture = Fixture::new(reopen(&path).await).await;
    let message = || text("a", "+5511900000001", "hello");
    fixture.accept(vec![message()]).await;
    let mut own = connect(&path).await;
    sqlx::query("CREATE TRIGGER full BEFORE INSERT ON message BEGIN SELECT RAISE(FAIL, 'no room'); END")
        .execute(&mut own)
        .await
        .unwrap();
    assert!(fixture.store.message_accept(&fixture.tenant, vec![message(), message()]).await.is_err());
    sqlx::query("DROP TRIGGER full").execute(&mut own).await.unwrap();
    assert_eq!(ahead(&fixture).await, 1);
}

/// P5. What a start reads into memory holds as what was noted before it did.
#[tokio::test]
async fn an_opt_out_holds_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("muster.db");
    let fixture = Fixture::new(reopen(&path).await).await;
    fixture.opt_out("+5511900000001").await;
    drop(fixture);
    let fixture = Fixture::again(reopen(&path).await, muster_domain::TenantId::default_tenant());
    let new = vec![text("a", "+5511900000001", "hello"), text("a", "+5511900000002", "hello")];
    let results = fixture.store.message_accept(&fixture.tenant, new).await.unwrap();
    assert!(matches!(results[..], [AcceptResult::RecipientOptedOut, AcceptResult::Accepted(_)]), "{results:?}");
}

#[tokio::test]
async fn a_closed_file_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("muster.db");
    let store = reopen(&path).await;
    let fixture = Fixture::new(Arc::clone(&store)).await;
    let id = fixture.accept(vec![text("a", "+5511900000001", "hello")]).await[0];
    store.close().await;
    assert!(!dir.path().join("muster.db-wal").exists(), "a closed database is one file");
    let tenant = fixture.tenant.clone();
    drop((store, fixture));
    let fixture = Fixture::again(reopen(&path).await, tenant);
    assert_eq!(fixture.state(id).await, "WAITING");
}

#[tokio::test]
async fn a_second_server_is_kept_out() {
    let (_store, dir) = open(Clock::system()).await;
    let error = open_error(&dir.path().join("muster.db")).await;
    assert!(matches!(&error, StoreError::Locked(text) if text.contains("stop the other server")), "{error}");
}

#[tokio::test]
async fn another_file_is_no_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("muster.db");
    let text = "This is a letter and no database. ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let error = open_error(&path).await;
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "the file of somebody else was changed");
}

#[tokio::test]
async fn a_truncated_file_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("muster.db");
    let store = reopen(&path).await;
    let fixture = Fixture::new(Arc::clone(&store)).await;
    fixture.accept((0..500).map(|_| text("a", "+5511900000001", "hello")).collect()).await;
    store.close().await;
    drop((store, fixture));
    let size = std::fs::metadata(&path).unwrap().len();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(size / 3 / 4_096 * 4_096).unwrap();
    let error = open_error(&path).await;
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = open_error(&dir.path().join("missing").join("muster.db")).await;
    let StoreError::NotWritable(text) = &error else { panic!("{error:?}") };
    assert!(text.contains("missing") && text.contains("Check that the directory exists"), "{text}");
}

/// Whether permission bits keep us out: they do not keep out root.
fn bits_bind(dir: &Path) -> bool {
    std::fs::set_permissions(dir, Permissions::from_mode(0o500)).unwrap();
    let binds = std::fs::write(dir.join("probe"), "").is_err();
    std::fs::set_permissions(dir, Permissions::from_mode(0o700)).unwrap();
    binds
}

#[tokio::test]
async fn a_read_only_place_is_not_writable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("muster.db");
    if !bits_bind(dir.path()) {
        return;
    }
    let store = reopen(&path).await;
    store.close().await;
    drop(store);
    std::fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    let error = open_error(&path).await;
    assert!(matches!(error, StoreError::NotWritable(_)), "{error:?}");
    let empty = tempfile::tempdir().unwrap();
    std::fs::set_permissions(empty.path(), Permissions::from_mode(0o500)).unwrap();
    let error = open_error(&empty.path().join("muster.db")).await;
    assert!(matches!(error, StoreError::NotWritable(_)), "{error:?}");
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("muster.db");
    let store = reopen(&path).await;
    store.close().await;
    drop(store);
    let mut connection = connect(&path).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) \
         VALUES (9999, 'of tomorrow', CURRENT_TIMESTAMP, 1, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let error = open_error(&path).await;
    assert!(matches!(error, StoreError::TooNew { found: 9999, known } if known < 9999), "{error:?}");
}

#[tokio::test]
async fn the_time_of_what_happens_is_that_of_the_clock_that_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let shown = Timestamp::now() - Duration::from_secs(1_000);
    let store =
        SqliteStore::open_by(&dir.path().join("muster.db"), Clock::new(move || shown), IdStart::from_entropy(0))
            .await
            .unwrap();
    assert_eq!(store.now(), shown);
    let fixture = Fixture::new(Arc::new(store)).await;
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    let message = fixture.store.message_get(&fixture.tenant, attempt.message_id).await.unwrap().unwrap();
    assert_eq!(message.dispatch_time, Some(Timestamp::from_microsecond(shown.as_microsecond()).unwrap()));
}

#[tokio::test]
async fn a_wait_that_was_told_to_be_over_is_told_again_when_the_clock_was_set_back() {
    let time = MovedClock::default();
    let (store, _dir) = open(time.clock()).await;
    let fixture = Fixture::on(time.clone(), store).await;
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(attempt, refused_bot())]).await;
    let told = async || !fixture.store.wake_due(10, SILENCE_MAX, UNCERTAIN_WAIT_DEFAULT).await.unwrap().wake.is_empty();
    time.set_ahead(Duration::from_secs(30));
    assert!(told().await, "the wait is over");
    time.set_ahead(Duration::ZERO);
    assert_eq!(fixture.claim_ids(&session).await, [], "it is not, by the clock of now");
    time.set_ahead(Duration::from_secs(30));
    assert!(told().await, "it is over again");
    assert_eq!(fixture.claim_ids(&session).await, [attempt.message_id]);
}

/// A refusal that speaks of the bot, and asks for ten seconds.
fn refused_bot() -> Outcome {
    let mut failure = Failure::new(FailureReason::RateLimited, "");
    failure.retry_after = Some(Duration::from_secs(10));
    Outcome::Failed(failure)
}

#[tokio::test]
async fn a_key_is_free_again_once_its_time_is_over_and_its_message_gone() {
    let time = MovedClock::default();
    let (store, _dir) = open(time.clock()).await;
    let fixture = Fixture::on(time.clone(), store).await;
    let idempotency = Some(Idempotency { key: "k".into(), fingerprint: [1; 16] });
    let message = NewMessage { idempotency, ..text("a", "+5511900000001", "hello") };
    let id = fixture.accept(vec![message.clone()]).await[0];
    fixture.store.message_cancel(&fixture.tenant, id).await.unwrap();
    let after = async |hours: u64, messages_kept: Duration| {
        time.set_ahead(Duration::from_secs(hours * 3600));
        let policy = RetentionPolicy { messages: messages_kept, ..RetentionPolicy::default() };
        fixture.store.retention_run(&policy, 100).await.unwrap();
        fixture.store.message_accept(&fixture.tenant, vec![message.clone()]).await.unwrap().remove(0)
    };
    let hour = Duration::from_secs(3600);
    assert_eq!(after(49, 50 * hour).await, AcceptResult::Replayed(id), "the message is there");
    time.set_ahead(Duration::ZERO);
    assert_eq!(after(47, hour).await, AcceptResult::Replayed(id), "its time is not over");
    let again = after(49, hour).await;
    let AcceptResult::Accepted(new) = again else { panic!("it is free: {again:?}") };
    assert_eq!(after(49, hour).await, AcceptResult::Replayed(new), "it belongs to the new message");
}

#[tokio::test]
async fn the_log_does_not_outgrow_its_bound() {
    const MIB: usize = 1024 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("muster.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let fixture = Fixture::new(Arc::new(store)).await;
    let body = "x".repeat(MIB / 4);
    for _ in 0..40 {
        fixture.accept((0..16).map(|_| text("a", "+5511900000001", &body)).collect()).await;
    }
    let log = std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
    assert!(log < 136 * MIB as u64, "{log} bytes after 160 MiB");
    fixture.store.close().await;
    assert!(std::fs::metadata(&path).unwrap().len() > 160 * MIB as u64, "all of it is in the database");
}

#[tokio::test]
async fn a_bot_that_was_woken_for_its_window_waits_again_when_the_clock_was_set_back() {
    let time = MovedClock::default();
    let (store, _dir) = open(time.clock()).await;
    let fixture = Fixture::on(time.clone(), store).await;
    let session = fixture.open_connected().await;
    // It opens two to three hours from now, for two hours: the hour may end while the test runs.
    let hour = fixture.store.now().as_second().unsigned_abs() / 3_600;
    let shift = format!("{:02}:00-{:02}:00", (hour + 3) % 24, (hour + 5) % 24);
    let sending_window = Some(SendingWindow::new("UTC", &[shift]).unwrap());
    let spec = BotSpec { sending_window, ..bot_spec("a", "g") };
    fixture.write(vec![FleetWrite::PutBot(spec, Expect::Present)]).await.unwrap();
    let expire_time = fixture.store.now() + Duration::from_secs(48 * 3_600);
    let id = fixture.accept(vec![NewMessage { expire_time, ..text("a", "+5511900000001", "hello") }]).await[0];
    assert_eq!(fixture.claim_ids(&session).await, []);
    let woken = async || !fixture.wake_due(10).await.wake.is_empty();
    time.set_ahead(Duration::from_secs(3 * 3_600));
    assert!(woken().await);
    time.set_ahead(Duration::ZERO);
    assert_eq!(fixture.claim_ids(&session).await, [], "by the clock of now it is closed");
    time.set_ahead(Duration::from_secs(3 * 3_600));
    assert!(woken().await, "it opens again");
    assert_eq!(fixture.claim_ids(&session).await, [id]);
}
