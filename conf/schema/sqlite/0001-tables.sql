-- permtab, schema 1, SQLite. docs/SCHEMA.md describes every table and the SQL for each kind of change.
--
-- Ids are 64-bit unsigned numbers; SQLite keeps those above 2^63 as negative ones (the views at the end print them).
-- Every table has one key, its natural one, and no hidden rowid beside it: REPLACE deletes the rows it replaces
-- without a trigger, so a row may only ever be replaced by one with the same key, whose own change row then says all.
-- References are foreign keys *and* triggers, because foreign keys are off in sqlite3's command line.

CREATE TABLE permtab_store (
    one            INTEGER PRIMARY KEY CHECK (one = 1),
    store_id       INTEGER NOT NULL,
    schema_version INTEGER NOT NULL,
    schema_state   TEXT NOT NULL
) STRICT;
INSERT INTO permtab_store VALUES (1, random(), 0, 'applying 1');

-- The log, and the counter as well: writers come one after the other, so "the largest number plus one", which SQLite gives a
-- row that brings none, has no gaps and is in the order of commits. The newest row is never deleted (0002-rules.sql).
CREATE TABLE permtab_change (
    revision   INTEGER PRIMARY KEY CHECK (revision > 0),
    kind       INTEGER NOT NULL,
    user_id    INTEGER NOT NULL DEFAULT 0,
    role_id    INTEGER NOT NULL DEFAULT 0,
    scope_type INTEGER NOT NULL DEFAULT 0,
    scope_id   INTEGER NOT NULL DEFAULT 0,
    at         INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)),
    nonce      INTEGER NOT NULL DEFAULT (random())
) STRICT;

CREATE TABLE permtab_scope_type (
    number INTEGER PRIMARY KEY CHECK (number BETWEEN 0 AND 14),
    name   TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 31 AND name NOT GLOB '*[^a-z0-9_]*')
) STRICT;

CREATE TABLE permtab_permission (
    name        TEXT NOT NULL PRIMARY KEY
                CHECK (length(name) BETWEEN 1 AND 100 AND name NOT GLOB '*[^a-z0-9_.]*'
                       AND name NOT GLOB '.*' AND name NOT GLOB '*.' AND name NOT GLOB '*..*'),
    bit         INTEGER NOT NULL CHECK (bit BETWEEN 0 AND 16383),
    description TEXT NOT NULL DEFAULT '',
    grants_all  INTEGER NOT NULL DEFAULT 0 CHECK (grants_all IN (0, 1)),
    deprecated  INTEGER NOT NULL DEFAULT 0 CHECK (deprecated IN (0, 1)),
    deleted     INTEGER NOT NULL DEFAULT 0 CHECK (deleted IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE INDEX permtab_permission_bit ON permtab_permission (bit);

CREATE TABLE permtab_requirement (
    permission TEXT NOT NULL REFERENCES permtab_permission (name) ON DELETE RESTRICT ON UPDATE RESTRICT,
    requires   TEXT NOT NULL REFERENCES permtab_permission (name) ON DELETE RESTRICT ON UPDATE RESTRICT,
    PRIMARY KEY (permission, requires)
) STRICT, WITHOUT ROWID;
CREATE INDEX permtab_requirement_requires ON permtab_requirement (requires);

CREATE TABLE permtab_scope (
    type        INTEGER NOT NULL REFERENCES permtab_scope_type (number) ON DELETE RESTRICT ON UPDATE RESTRICT,
    id          INTEGER NOT NULL,
    parent_type INTEGER NOT NULL,
    parent_id   INTEGER NOT NULL,
    owner       INTEGER,
    PRIMARY KEY (type, id),
    FOREIGN KEY (parent_type, parent_id) REFERENCES permtab_scope (type, id) ON DELETE RESTRICT ON UPDATE RESTRICT
) STRICT, WITHOUT ROWID;
CREATE INDEX permtab_scope_parent ON permtab_scope (parent_type, parent_id);

CREATE TABLE permtab_role (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL DEFAULT '',
    scope_type INTEGER NOT NULL,
    scope_id   INTEGER NOT NULL,
    is_default INTEGER NOT NULL DEFAULT 0 CHECK (is_default IN (0, 1)),
    active     INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
    FOREIGN KEY (scope_type, scope_id) REFERENCES permtab_scope (type, id) ON DELETE RESTRICT ON UPDATE RESTRICT
) STRICT;
CREATE INDEX permtab_role_scope ON permtab_role (scope_type, scope_id, is_default);

CREATE TABLE permtab_role_parent (
    role_id   INTEGER NOT NULL REFERENCES permtab_role (id) ON DELETE RESTRICT ON UPDATE RESTRICT,
    parent_id INTEGER NOT NULL REFERENCES permtab_role (id) ON DELETE RESTRICT ON UPDATE RESTRICT,
    PRIMARY KEY (role_id, parent_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX permtab_role_parent_parent ON permtab_role_parent (parent_id);

CREATE TABLE permtab_role_permission (
    role_id    INTEGER NOT NULL REFERENCES permtab_role (id) ON DELETE RESTRICT ON UPDATE RESTRICT,
    permission TEXT NOT NULL REFERENCES permtab_permission (name) ON DELETE RESTRICT ON UPDATE RESTRICT,
    effect     TEXT NOT NULL CHECK (effect IN ('allow', 'allow_own', 'deny')),
    PRIMARY KEY (role_id, permission, effect)
) STRICT, WITHOUT ROWID;
CREATE INDEX permtab_role_permission_permission ON permtab_role_permission (permission);

CREATE TABLE permtab_assignment (
    user_id    INTEGER NOT NULL,
    role_id    INTEGER NOT NULL REFERENCES permtab_role (id) ON DELETE RESTRICT ON UPDATE RESTRICT,
    scope_type INTEGER NOT NULL,
    scope_id   INTEGER NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (user_id, role_id, scope_type, scope_id),
    FOREIGN KEY (scope_type, scope_id) REFERENCES permtab_scope (type, id) ON DELETE RESTRICT ON UPDATE RESTRICT
) STRICT, WITHOUT ROWID;
CREATE INDEX permtab_assignment_role ON permtab_assignment (role_id);
CREATE INDEX permtab_assignment_scope ON permtab_assignment (scope_type, scope_id);
CREATE INDEX permtab_assignment_expires ON permtab_assignment (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE permtab_overwrite (
    scope_type INTEGER NOT NULL,
    scope_id   INTEGER NOT NULL,
    subject    TEXT NOT NULL CHECK (subject IN ('role', 'user')),
    subject_id INTEGER NOT NULL,
    permission TEXT NOT NULL REFERENCES permtab_permission (name) ON DELETE RESTRICT ON UPDATE RESTRICT,
    effect     TEXT NOT NULL CHECK (effect IN ('allow', 'deny')),
    PRIMARY KEY (scope_type, scope_id, subject, subject_id, permission, effect),
    FOREIGN KEY (scope_type, scope_id) REFERENCES permtab_scope (type, id) ON DELETE RESTRICT ON UPDATE RESTRICT
) STRICT, WITHOUT ROWID;
CREATE INDEX permtab_overwrite_subject ON permtab_overwrite (subject, subject_id);
CREATE INDEX permtab_overwrite_permission ON permtab_overwrite (permission);

-- What is there from the beginning. A log begins with one row, so that there is always a row to find again.
INSERT INTO permtab_scope_type VALUES (0, 'global');
INSERT INTO permtab_scope VALUES (0, 0, 0, 0, NULL);
INSERT INTO permtab_change (kind) VALUES (9);

-- The last revision, by the name that it has in MariaDB.
-- The last row by the key, not MAX(revision): with a condition on `one` beside it SQLite would read the whole log for that.
CREATE VIEW permtab_counter AS
    SELECT 1 AS one, revision FROM permtab_change ORDER BY revision DESC LIMIT 1;

-- views that print ids as unsigned decimals

CREATE VIEW permtab_scope_view AS
    SELECT type, printf('%llu', id) AS id, parent_type, printf('%llu', parent_id) AS parent_id,
           CASE WHEN owner IS NOT NULL THEN printf('%llu', owner) END AS owner
    FROM permtab_scope;

CREATE VIEW permtab_role_view AS
    SELECT printf('%llu', id) AS id, name, scope_type,
           printf('%llu', scope_id) AS scope_id, is_default, active
    FROM permtab_role;

CREATE VIEW permtab_role_parent_view AS
    SELECT printf('%llu', role_id) AS role_id, printf('%llu', parent_id) AS parent_id
    FROM permtab_role_parent;

CREATE VIEW permtab_role_permission_view AS
    SELECT printf('%llu', role_id) AS role_id, permission, effect
    FROM permtab_role_permission;

CREATE VIEW permtab_assignment_view AS
    SELECT printf('%llu', user_id) AS user_id,
           printf('%llu', role_id) AS role_id, scope_type,
           printf('%llu', scope_id) AS scope_id, expires_at
    FROM permtab_assignment;

CREATE VIEW permtab_overwrite_view AS
    SELECT scope_type,
           printf('%llu', scope_id) AS scope_id, subject,
           printf('%llu', subject_id) AS subject_id, permission, effect
    FROM permtab_overwrite;

CREATE VIEW permtab_change_view AS
    SELECT revision, kind,
           printf('%llu', user_id) AS user_id,
           printf('%llu', role_id) AS role_id, scope_type,
           printf('%llu', scope_id) AS scope_id, at,
           printf('%llu', nonce) AS nonce
    FROM permtab_change;

UPDATE permtab_store SET schema_state = 'ready', schema_version = 1;
