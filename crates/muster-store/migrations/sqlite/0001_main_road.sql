-- Times are microseconds since the Unix epoch. Enumerations are the numbers in src/sqlite/code.rs.
-- Ids of resources are text that operators chose; keys are short numbers that stand for them in rows that come by the million.

CREATE TABLE tenant (
    tenant_key   INTEGER PRIMARY KEY,
    tenant_id    TEXT NOT NULL UNIQUE,
    -- Its share where tenants contend, in relation to the others.
    weight       INTEGER NOT NULL,
    -- What is done about uncertain messages that do not say so themselves.
    on_uncertain INTEGER NOT NULL DEFAULT 0,
    -- Removed by an operator; kept for the rows that name it.
    removed      INTEGER NOT NULL DEFAULT 0,
    create_time  INTEGER NOT NULL,
    update_time  INTEGER NOT NULL
) STRICT;
INSERT INTO tenant (tenant_key, tenant_id, weight, create_time, update_time)
VALUES (1, 'default', 1, unixepoch() * 1000000, unixepoch() * 1000000);

CREATE TABLE node (
    node_key         INTEGER PRIMARY KEY,
    tenant_key       INTEGER NOT NULL REFERENCES tenant,
    node_id          TEXT NOT NULL,
    display_name     TEXT NOT NULL,
    labels           TEXT NOT NULL,
    generation       INTEGER NOT NULL,
    epoch            INTEGER NOT NULL DEFAULT 0,
    online           INTEGER NOT NULL DEFAULT 0,
    online_time      INTEGER,
    agent_version    TEXT NOT NULL DEFAULT '',
    journal_id       BLOB,
    journal_opening  INTEGER NOT NULL DEFAULT 0,
    process_id       BLOB,
    report_committed INTEGER NOT NULL DEFAULT 0,
    -- Attempts of earlier sessions are settled once reports up to here are in; zero when nothing is to be settled.
    settle_after     INTEGER NOT NULL DEFAULT 0,
    desired_version  INTEGER NOT NULL DEFAULT 1,
    -- Which opening of the database made that version: one that was restored makes the same numbers again.
    desired_lineage  INTEGER NOT NULL,
    applied_version  INTEGER NOT NULL DEFAULT 0,
    -- Nothing new goes there; NULL in all three while it takes work.
    cordon_reason    TEXT,
    cordon_author    TEXT,
    cordon_time      INTEGER,
    -- It is being emptied: since when, and until when that is waited for. Only beside a cordon.
    drain_time       INTEGER,
    drain_until      INTEGER,
    -- Removed by an operator; kept for the attempts and retired bots that name it.
    removed          INTEGER NOT NULL DEFAULT 0,
    create_time      INTEGER NOT NULL,
    update_time      INTEGER NOT NULL,
    UNIQUE (tenant_key, node_id)
) STRICT;

CREATE TABLE gateway (
    gateway_key  INTEGER PRIMARY KEY,
    tenant_key   INTEGER NOT NULL REFERENCES tenant,
    gateway_id   TEXT NOT NULL,
    kind         TEXT NOT NULL,
    node_key     INTEGER NOT NULL REFERENCES node,
    display_name TEXT NOT NULL,
    labels       TEXT NOT NULL,
    generation   INTEGER NOT NULL,
    -- The node's desired version that brought the latest change.
    version      INTEGER NOT NULL,
    apply_error  TEXT NOT NULL DEFAULT '',
    -- Removed by an operator; kept for the retired bots that name it.
    removed      INTEGER NOT NULL DEFAULT 0,
    create_time  INTEGER NOT NULL,
    update_time  INTEGER NOT NULL,
    UNIQUE (tenant_key, gateway_id)
) STRICT;
CREATE INDEX gateway_by_node ON gateway (node_key, version);

CREATE TABLE bot (
    bot_key           INTEGER PRIMARY KEY,
    tenant_key        INTEGER NOT NULL REFERENCES tenant,
    bot_id            TEXT NOT NULL,
    gateway_key       INTEGER NOT NULL REFERENCES gateway,
    node_key          INTEGER NOT NULL REFERENCES node,
    network           TEXT NOT NULL,
    address           TEXT,
    display_name      TEXT NOT NULL,
    labels            TEXT NOT NULL,
    generation        INTEGER NOT NULL,
    -- The node's desired version that brought the latest change.
    version           INTEGER NOT NULL,
    stage             INTEGER NOT NULL,
    stage_rule        TEXT NOT NULL,
    hold_reason       TEXT,
    hold_author       TEXT,
    hold_since        INTEGER,
    hold_until        INTEGER,
    connection        INTEGER NOT NULL,
    connection_detail TEXT NOT NULL DEFAULT '',
    connection_time   INTEGER,
    apply_error       TEXT NOT NULL DEFAULT '',
    -- Attempts may be under way at a node that the bot has left.
    away              INTEGER NOT NULL DEFAULT 0,
    -- What is done while its node is absent: 0 is nothing.
    on_node_absent    INTEGER NOT NULL DEFAULT 0,
    absent_after      INTEGER,
    standby_gateway   TEXT,
    -- Its policy moved it: from which gateway, without a session since when, and when. NULL in all three once somebody moves it.
    fail_over_from    TEXT,
    fail_over_absent  INTEGER,
    fail_over_time    INTEGER,
    -- When it may send, as muster_domain::window writes it; NULL for at any time. And how often that was changed.
    sending_window    TEXT,
    window_generation INTEGER NOT NULL DEFAULT 0,
    -- It was asked for work and waits for its window: when it is asked again. NULL while nobody waits for that.
    wake_time         INTEGER,
    create_time       INTEGER NOT NULL,
    update_time       INTEGER NOT NULL,
    UNIQUE (tenant_key, bot_id)
) STRICT;
CREATE INDEX bot_by_gateway ON bot (gateway_key);
CREATE INDEX bot_by_node ON bot (node_key, version);
CREATE INDEX bot_absence ON bot (node_key) WHERE on_node_absent > 0;
CREATE INDEX bot_wake ON bot (wake_time) WHERE wake_time IS NOT NULL;
CREATE INDEX bot_hold_end ON bot (hold_until) WHERE hold_until IS NOT NULL;
-- A retired bot (stage 9) gives its address free.
CREATE UNIQUE INDEX bot_by_address ON bot (tenant_key, network, address) WHERE address IS NOT NULL AND stage <> 9;

-- Refusals that speak of a whole bot (scope 3, the key is its bot_key) or gateway (scope 4, gateway_key): nothing of it is
-- tried before `until`, and then one attempt at a time until one gets through. A row for each that is in trouble.
CREATE TABLE backoff (
    scope    INTEGER NOT NULL,
    key      INTEGER NOT NULL,
    reason   INTEGER NOT NULL,
    detail   TEXT NOT NULL,
    -- In a row.
    refusals INTEGER NOT NULL,
    since    INTEGER NOT NULL,
    -- When the latest refusal was reported.
    refused  INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    -- Bots were told that `until` has come.
    told     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX backoff_end ON backoff (until) WHERE told = 0;

-- What left a node, for agents that were away: kind 1 is a gateway, 2 a bot.
CREATE TABLE departure (
    node_key    INTEGER NOT NULL REFERENCES node,
    kind        INTEGER NOT NULL,
    resource_id TEXT NOT NULL,
    version     INTEGER NOT NULL,
    PRIMARY KEY (node_key, kind, resource_id)
) STRICT, WITHOUT ROWID;

-- Request ids that make calls safe to repeat.
CREATE TABLE request (
    tenant_key  INTEGER NOT NULL,
    request_id  TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    create_time INTEGER NOT NULL,
    PRIMARY KEY (tenant_key, request_id)
) STRICT, WITHOUT ROWID;

-- What a client asked for: written once, at acceptance. Where the message is in its life is told by the table that has its
-- row: `ready` or `parked` while it waits, `flight` while an attempt is under way, `settled` when nothing is left to do.
CREATE TABLE message (
    message_id   INTEGER PRIMARY KEY,
    tenant_key   INTEGER NOT NULL,
    bot_key      INTEGER NOT NULL,
    priority     INTEGER NOT NULL,
    chain        INTEGER NOT NULL,
    expire_time  INTEGER NOT NULL,
    not_before   INTEGER,
    recipient    TEXT NOT NULL,
    media_digest BLOB,
    body         BLOB NOT NULL
) STRICT;
CREATE INDEX message_by_bot ON message (bot_key, message_id);
CREATE INDEX message_by_recipient ON message (recipient, message_id);
CREATE INDEX message_by_media ON message (media_digest) WHERE media_digest IS NOT NULL;

-- What can leave as soon as its bot can, in the order in which it leaves. What cannot is not here.
CREATE TABLE ready (
    bot_key    INTEGER NOT NULL,
    priority   INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    -- Attempts so far.
    attempt_no INTEGER NOT NULL,
    PRIMARY KEY (bot_key, priority, message_id)
) STRICT, WITHOUT ROWID;

-- What waits for a time of its own, in the order of that time.
CREATE TABLE parked (
    wake_time  INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    bot_key    INTEGER NOT NULL,
    priority   INTEGER NOT NULL,
    chain      INTEGER NOT NULL,
    -- Attempts so far.
    attempt_no INTEGER NOT NULL,
    reason     INTEGER NOT NULL,
    since      INTEGER NOT NULL,
    -- Later messages of the chain wait for it. A time that the client asked for blocks nobody.
    blocks     INTEGER NOT NULL,
    PRIMARY KEY (wake_time, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX parked_by_bot ON parked (bot_key, message_id);
CREATE INDEX parked_by_chain ON parked (chain, message_id) WHERE blocks = 1;

-- Attempts under way: bounded by the credits of the agents.
CREATE TABLE flight (
    message_id       INTEGER PRIMARY KEY,
    node_key         INTEGER NOT NULL,
    bot_key          INTEGER NOT NULL,
    attempt_no       INTEGER NOT NULL,
    -- The session that dispatched it, and the latest one whose agent said that it holds it.
    epoch            INTEGER NOT NULL,
    holder_epoch     INTEGER NOT NULL,
    dispatch_time    INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    -- Its recipient opted out: the agent is asked to drop it, again by each session until it tells.
    opted_out        INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX flight_by_node ON flight (node_key);

-- Attempts that were under way at a node when its drain began; they go with its cordon.
CREATE TABLE drained (
    node_key   INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    attempt_no INTEGER NOT NULL,
    PRIMARY KEY (node_key, message_id)
) STRICT, WITHOUT ROWID;

-- What became of a message: its latest attempt, what brought it to an end, and what the network said later.
CREATE TABLE settled (
    message_id       INTEGER PRIMARY KEY,
    tenant_key       INTEGER NOT NULL,
    bot_key          INTEGER NOT NULL,
    state            INTEGER NOT NULL,
    -- The latest attempt; zero when there was none. One that is in `attempt` may leave the next columns empty.
    attempt_no       INTEGER NOT NULL,
    node_key         INTEGER,
    epoch            INTEGER,
    dispatch_time    INTEGER,
    outcome_time     INTEGER,
    queued_us        INTEGER,
    gateway_us       INTEGER,
    network_id       TEXT,
    acknowledge_time INTEGER,
    deliver_time     INTEGER,
    read_time        INTEGER,
    reason           INTEGER,
    detail           TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX settled_by_network ON settled (bot_key, network_id) WHERE network_id IS NOT NULL;
-- States 5 and above are failed, expired, cancelled, uncertain: the few that people look for.
CREATE INDEX settled_troubled ON settled (tenant_key, state, message_id) WHERE state >= 5;

-- What was not sent (5 failed, 6 expired), in the order of acceptance, with all that it is counted by.
CREATE INDEX settled_failed ON settled (tenant_key, message_id, state, reason, bot_key, node_key) WHERE state >= 5 AND state <= 6;

-- Messages that were not sent and are sent once more, as new ones.
CREATE TABLE replay (
    message_id INTEGER PRIMARY KEY,
    replay_id  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX replay_by_replay ON replay (replay_id);

-- When the validity of messages ends: a row for each run of messages that were accepted one after the other and end together.
-- It stays when they leave earlier: it says where to look, not what is there.
CREATE TABLE expiry (
    due_time INTEGER NOT NULL,
    first_id INTEGER NOT NULL,
    last_id  INTEGER NOT NULL,
    PRIMARY KEY (due_time, first_id)
) STRICT, WITHOUT ROWID;

-- Attempts that were followed by another one, or whose end the state of the message does not tell.
CREATE TABLE attempt (
    message_id    INTEGER NOT NULL,
    attempt_no    INTEGER NOT NULL,
    node_key      INTEGER NOT NULL,
    epoch         INTEGER NOT NULL,
    dispatch_time INTEGER NOT NULL,
    outcome_time  INTEGER NOT NULL,
    outcome       INTEGER NOT NULL,
    reason        INTEGER,
    detail        TEXT,
    network_id    TEXT,
    queued_us     INTEGER,
    gateway_us    INTEGER,
    PRIMARY KEY (message_id, attempt_no)
) STRICT, WITHOUT ROWID;

-- What was decided about messages that were uncertain, and what was reported against that later.
CREATE TABLE resolution (
    message_id INTEGER NOT NULL,
    time       INTEGER NOT NULL,
    resolution INTEGER NOT NULL,
    decided_by INTEGER NOT NULL,
    -- The latest attempt at that time.
    attempt_no INTEGER NOT NULL,
    reason     TEXT NOT NULL,
    conflict   TEXT,
    PRIMARY KEY (message_id, time)
) STRICT, WITHOUT ROWID;

-- Uncertain messages that their policy decides about once nobody has told more of them for a while. A row stays when a message is
-- settled earlier: it says where to look.
CREATE TABLE undecided (
    message_id INTEGER PRIMARY KEY,
    -- When it became uncertain.
    since      INTEGER NOT NULL
) STRICT;
CREATE INDEX undecided_by_time ON undecided (since);

CREATE TABLE idempotency (
    tenant_key  INTEGER NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    message_id  INTEGER NOT NULL,
    PRIMARY KEY (tenant_key, key)
) STRICT, WITHOUT ROWID;
-- Keys whose message is gone, and which stay until their own time is over.
CREATE TABLE orphaned_key (
    message_id INTEGER PRIMARY KEY,
    tenant_key INTEGER NOT NULL,
    key        TEXT NOT NULL
) STRICT;

-- Receipts that came before the outcome they belong to, or that belong to messages of somebody else's hand.
CREATE TABLE early_receipt (
    bot_key    INTEGER NOT NULL,
    network_id TEXT NOT NULL,
    kind       INTEGER NOT NULL,
    time       INTEGER NOT NULL,
    reason     INTEGER,
    detail     TEXT,
    PRIMARY KEY (bot_key, network_id, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX early_receipt_by_time ON early_receipt (time);

-- Every change of a message's state, numbered in the order of the commits: a row for each commit. See change_log.rs.
CREATE TABLE change (
    last_seq  INTEGER PRIMARY KEY,
    first_seq INTEGER NOT NULL,
    time      INTEGER NOT NULL,
    changes   BLOB NOT NULL
) STRICT;

CREATE TABLE bot_count (
    bot_key INTEGER NOT NULL,
    state   INTEGER NOT NULL,
    -- Of those that wait (state 0) their priority, or 3 for those that wait for a time that their clients named; otherwise 0.
    queue   INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    PRIMARY KEY (bot_key, state, queue)
) STRICT, WITHOUT ROWID;

CREATE TABLE inbound (
    inbound_id   INTEGER PRIMARY KEY,
    tenant_key   INTEGER NOT NULL,
    bot_key      INTEGER NOT NULL,
    network_id   TEXT NOT NULL,
    sender       TEXT NOT NULL,
    participant  TEXT,
    sender_name  TEXT NOT NULL,
    body         BLOB NOT NULL,
    receive_time INTEGER NOT NULL,
    UNIQUE (bot_key, network_id)
) STRICT;
CREATE INDEX inbound_by_bot ON inbound (bot_key, inbound_id);
CREATE INDEX inbound_by_sender ON inbound (sender, inbound_id);

-- Recipients of whom something is known beyond their messages.
CREATE TABLE contact (
    contact_id   INTEGER PRIMARY KEY,
    tenant_key   INTEGER NOT NULL,
    -- Since when nothing may be sent to it; NULL while something may.
    opt_out_time INTEGER,
    create_time  INTEGER NOT NULL
) STRICT;
CREATE INDEX contact_by_tenant ON contact (tenant_key, contact_id);
CREATE INDEX contact_opted_out ON contact (tenant_key, contact_id) WHERE opt_out_time IS NOT NULL;

CREATE TABLE contact_address (
    tenant_key INTEGER NOT NULL,
    network    TEXT NOT NULL,
    address    TEXT NOT NULL,
    contact_id INTEGER NOT NULL REFERENCES contact,
    PRIMARY KEY (tenant_key, network, address)
) STRICT, WITHOUT ROWID;
CREATE INDEX contact_address_by_contact ON contact_address (contact_id);

-- Every opt-out and opt-in of a contact. Nothing of it is ever changed.
CREATE TABLE opt_record (
    contact_id INTEGER NOT NULL REFERENCES contact,
    record_no  INTEGER NOT NULL,
    change     INTEGER NOT NULL,
    source     INTEGER NOT NULL,
    text       TEXT NOT NULL,
    proof      TEXT NOT NULL,
    author     TEXT NOT NULL,
    time       INTEGER NOT NULL,
    PRIMARY KEY (contact_id, record_no)
) STRICT, WITHOUT ROWID;

CREATE TABLE media (
    digest      BLOB PRIMARY KEY,
    bytes       BLOB NOT NULL,
    create_time INTEGER NOT NULL
) STRICT;
CREATE TABLE media_owner (
    tenant_key INTEGER NOT NULL,
    digest     BLOB NOT NULL,
    PRIMARY KEY (tenant_key, digest)
) STRICT, WITHOUT ROWID;
