-- permtab, schema 1, MariaDB and MySQL. docs/SCHEMA.md describes every table and the SQL for each kind of change.
--
-- Names and effects are compared byte for byte (ascii_bin); the checks keep trailing spaces out, which that collation
-- would not see. References have no cascades: those fire no triggers.
--
-- Each file sets the session's mode, for triggers keep the one that they are made with, and commits at its end, for the plain
-- client may meet a server with autocommit = 0.

SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION';

CREATE TABLE permtab_store (
    one            TINYINT UNSIGNED NOT NULL PRIMARY KEY,
    store_id       BIGINT UNSIGNED NOT NULL,
    schema_version INT UNSIGNED NOT NULL,
    schema_state   VARCHAR(60) NOT NULL,
    CONSTRAINT permtab_store_one CHECK (one = 1)
) ENGINE = InnoDB DEFAULT CHARSET = ascii COLLATE = ascii_bin;
INSERT INTO permtab_store
    VALUES (1, (FLOOR(1 + RAND() * 4294967294) << 32) | FLOOR(RAND() * 4294967295), 0, 'applying 1');

CREATE TABLE permtab_counter (
    one      TINYINT UNSIGNED NOT NULL PRIMARY KEY,
    revision BIGINT UNSIGNED NOT NULL,
    CONSTRAINT permtab_counter_one CHECK (one = 1)
) ENGINE = InnoDB DEFAULT CHARSET = ascii COLLATE = ascii_bin;

CREATE TABLE permtab_change (
    revision   BIGINT UNSIGNED NOT NULL PRIMARY KEY,
    kind       TINYINT UNSIGNED NOT NULL,
    user_id    BIGINT UNSIGNED NOT NULL DEFAULT 0,
    role_id    BIGINT UNSIGNED NOT NULL DEFAULT 0,
    scope_type TINYINT UNSIGNED NOT NULL DEFAULT 0,
    scope_id   BIGINT UNSIGNED NOT NULL DEFAULT 0,
    at         BIGINT NOT NULL DEFAULT (TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6))),
    nonce      BIGINT UNSIGNED NOT NULL DEFAULT ((FLOOR(RAND() * 4294967295) << 32) | FLOOR(RAND() * 4294967295))
) ENGINE = InnoDB DEFAULT CHARSET = ascii COLLATE = ascii_bin;

CREATE TABLE permtab_scope_type (
    number TINYINT UNSIGNED NOT NULL PRIMARY KEY,
    name   VARCHAR(31) NOT NULL,
    CONSTRAINT permtab_scope_type_number CHECK (number <= 14)
) ENGINE = InnoDB DEFAULT CHARSET = ascii COLLATE = ascii_bin;

CREATE TABLE permtab_permission (
    name        VARCHAR(100) NOT NULL PRIMARY KEY,
    bit         SMALLINT UNSIGNED NOT NULL,
    description TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT (''),
    grants_all  TINYINT(1) NOT NULL DEFAULT 0,
    deprecated  TINYINT(1) NOT NULL DEFAULT 0,
    deleted     TINYINT(1) NOT NULL DEFAULT 0,
    KEY permtab_permission_bit (bit),
    CONSTRAINT permtab_permission_limits
        CHECK (bit <= 16383 AND grants_all IN (0, 1) AND deprecated IN (0, 1) AND deleted IN (0, 1))
) ENGINE = InnoDB DEFAULT CHARSET = ascii COLLATE = ascii_bin;

CREATE TABLE permtab_requirement (
    permission VARCHAR(100) NOT NULL,
    requires   VARCHAR(100) NOT NULL,
    PRIMARY KEY (permission, requires),
    KEY permtab_requirement_requires (requires),
    CONSTRAINT permtab_requirement_exact CHECK (permission NOT LIKE '% ' AND requires NOT LIKE '% '),
    CONSTRAINT permtab_requirement_permission FOREIGN KEY (permission)
        REFERENCES permtab_permission (name) ON DELETE RESTRICT ON UPDATE RESTRICT,
    CONSTRAINT permtab_requirement_requires FOREIGN KEY (requires)
        REFERENCES permtab_permission (name) ON DELETE RESTRICT ON UPDATE RESTRICT
) ENGINE = InnoDB DEFAULT CHARSET = ascii COLLATE = ascii_bin;

CREATE TABLE permtab_scope (
    type        TINYINT UNSIGNED NOT NULL,
    id          BIGINT UNSIGNED NOT NULL,
    parent_type TINYINT UNSIGNED NOT NULL,
    parent_id   BIGINT UNSIGNED NOT NULL,
    owner       BIGINT UNSIGNED,
    PRIMARY KEY (type, id),
    KEY permtab_scope_parent (parent_type, parent_id),
    CONSTRAINT permtab_scope_type FOREIGN KEY (type) REFERENCES permtab_scope_type (number)
        ON DELETE RESTRICT ON UPDATE RESTRICT,
    CONSTRAINT permtab_scope_parent FOREIGN KEY (parent_type, parent_id) REFERENCES permtab_scope (type, id)
        ON DELETE RESTRICT ON UPDATE RESTRICT
) ENGINE = InnoDB DEFAULT CHARSET = ascii COLLATE = ascii_bin;

CREATE TABLE permtab_role (
    id         BIGINT UNSIGNED NOT NULL PRIMARY KEY,
    name       VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '',
    scope_type TINYINT UNSIGNED NOT NULL,
    scope_id   BIGINT UNSIGNED NOT NULL,
    is_default TINYINT(1) NOT NULL DEFAULT 0,
    active     TINYINT(1) NOT NULL DEFAULT 1,
    KEY permtab_role_scope (scope_type, scope_id, is_default),
    CONSTRAINT permtab_role_limits CHECK (is_default IN (0, 1) AND active IN (0, 1)),
    CONSTRAINT permtab_role_scope FOREIGN KEY (scope_type, scope_id) REFERENCES permtab_scope (type, id)
        ON DELETE RESTRICT ON UPDATE RESTRICT
) ENGINE = InnoDB DEFAULT CHARSET = ascii COLLATE = ascii_bin;

CREATE TABLE permtab_role_parent (
    role_id   BIGINT UNSIGNED NOT NULL,
    parent_id BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (role_id, parent_id),
    KEY permtab_role_parent_parent (parent_id),
    CONSTRAINT permtab_role_parent_role FOREIGN KEY (role_id) REFERENCES permtab_role (id)
        ON DELETE RESTRICT ON UPDATE RESTRICT,
    CONSTRAINT permtab_role_parent_parent FOREIGN KEY (parent_id) REFERENCES permtab_role (id)
        ON DELETE RESTRICT ON UPDATE RESTRICT
) ENGINE = InnoDB DEFAULT CHARSET = ascii COLLATE = ascii_bin;

CREATE TABLE permtab_role_permission (
    role_id    BIGINT UNSIGNED NOT NULL,
    permission VARCHAR(100) NOT NULL,
    effect     VARCHAR(20) NOT NULL,
    PRIMARY KEY (role_id, permission, effect),
    KEY permtab_role_permission_permission (permission),
    CONSTRAINT permtab_role_permission_effect
        CHECK (permission NOT LIKE '% ' AND CAST(effect AS BINARY) IN ('allow', 'allow_own', 'deny')),
    CONSTRAINT permtab_role_permission_role FOREIGN KEY (role_id) REFERENCES permtab_role (id)
        ON DELETE RESTRICT ON UPDATE RESTRICT,
    CONSTRAINT permtab_role_permission_permission FOREIGN KEY (permission) REFERENCES permtab_permission (name)
        ON DELETE RESTRICT ON UPDATE RESTRICT
) ENGINE = InnoDB DEFAULT CHARSET = ascii COLLATE = ascii_bin;

CREATE TABLE permtab_assignment (
    user_id    BIGINT UNSIGNED NOT NULL,
    role_id    BIGINT UNSIGNED NOT NULL,
    scope_type TINYINT UNSIGNED NOT NULL,
    scope_id   BIGINT UNSIGNED NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (user_id, role_id, scope_type, scope_id),
    KEY permtab_assignment_role (role_id),
    KEY permtab_assignment_scope (scope_type, scope_id),
    KEY permtab_assignment_expires (expires_at),
    CONSTRAINT permtab_assignment_role FOREIGN KEY (role_id) REFERENCES permtab_role (id)
        ON DELETE RESTRICT ON UPDATE RESTRICT,
    CONSTRAINT permtab_assignment_scope FOREIGN KEY (scope_type, scope_id) REFERENCES permtab_scope (type, id)
        ON DELETE RESTRICT ON UPDATE RESTRICT
) ENGINE = InnoDB DEFAULT CHARSET = ascii COLLATE = ascii_bin;

CREATE TABLE permtab_overwrite (
    scope_type TINYINT UNSIGNED NOT NULL,
    scope_id   BIGINT UNSIGNED NOT NULL,
    subject    VARCHAR(10) NOT NULL,
    subject_id BIGINT UNSIGNED NOT NULL,
    permission VARCHAR(100) NOT NULL,
    effect     VARCHAR(20) NOT NULL,
    PRIMARY KEY (scope_type, scope_id, subject, subject_id, permission, effect),
    KEY permtab_overwrite_subject (subject, subject_id),
    KEY permtab_overwrite_permission (permission),
    CONSTRAINT permtab_overwrite_effect
        CHECK (permission NOT LIKE '% ' AND CAST(effect AS BINARY) IN ('allow', 'deny')
               AND CAST(subject AS BINARY) IN ('role', 'user')),
    CONSTRAINT permtab_overwrite_scope FOREIGN KEY (scope_type, scope_id) REFERENCES permtab_scope (type, id)
        ON DELETE RESTRICT ON UPDATE RESTRICT,
    CONSTRAINT permtab_overwrite_permission FOREIGN KEY (permission) REFERENCES permtab_permission (name)
        ON DELETE RESTRICT ON UPDATE RESTRICT
) ENGINE = InnoDB DEFAULT CHARSET = ascii COLLATE = ascii_bin;

-- Always empty. TRUNCATE and DROP fire no triggers; these references make both fail for the tables that no other table
-- refers to, unless a session turns foreign_key_checks off.
CREATE TABLE permtab_guard (
    one        TINYINT UNSIGNED,
    revision   BIGINT UNSIGNED,
    user_id    BIGINT UNSIGNED,
    role_id    BIGINT UNSIGNED,
    parent_id  BIGINT UNSIGNED,
    scope_type TINYINT UNSIGNED,
    scope_id   BIGINT UNSIGNED,
    subject    VARCHAR(10),
    subject_id BIGINT UNSIGNED,
    permission VARCHAR(100),
    requires   VARCHAR(100),
    effect     VARCHAR(20),
    CONSTRAINT permtab_guard_empty CHECK (one <> one AND one IS NOT NULL),
    CONSTRAINT permtab_guard_store FOREIGN KEY (one) REFERENCES permtab_store (one),
    CONSTRAINT permtab_guard_counter FOREIGN KEY (one) REFERENCES permtab_counter (one),
    CONSTRAINT permtab_guard_change FOREIGN KEY (revision) REFERENCES permtab_change (revision),
    CONSTRAINT permtab_guard_requirement FOREIGN KEY (permission, requires)
        REFERENCES permtab_requirement (permission, requires),
    CONSTRAINT permtab_guard_role_parent FOREIGN KEY (role_id, parent_id)
        REFERENCES permtab_role_parent (role_id, parent_id),
    CONSTRAINT permtab_guard_role_permission FOREIGN KEY (role_id, permission, effect)
        REFERENCES permtab_role_permission (role_id, permission, effect),
    CONSTRAINT permtab_guard_assignment FOREIGN KEY (user_id, role_id, scope_type, scope_id)
        REFERENCES permtab_assignment (user_id, role_id, scope_type, scope_id),
    CONSTRAINT permtab_guard_overwrite FOREIGN KEY (scope_type, scope_id, subject, subject_id, permission, effect)
        REFERENCES permtab_overwrite (scope_type, scope_id, subject, subject_id, permission, effect)
) ENGINE = InnoDB DEFAULT CHARSET = ascii COLLATE = ascii_bin;

-- What is there from the beginning. A log begins with one row, so that there is always a row to find again.
INSERT INTO permtab_scope_type VALUES (0, 'global');
INSERT INTO permtab_scope VALUES (0, 0, 0, 0, NULL);
INSERT INTO permtab_counter VALUES (1, 1);
INSERT INTO permtab_change (revision, kind) VALUES (1, 9);

UPDATE permtab_store SET schema_state = 'ready', schema_version = 1;
COMMIT;
