-- permtab, schema 3, MariaDB and MySQL: the log. Each trigger advances the counter and appends a row that says which key
-- to read again. An update that changes nothing appends none; one that changes the key appends one for the old key and
-- one for the new one. The counter's row is always there (0002-rules.sql), so that INSERT only ever updates it; it
-- costs a sixth less than UPDATE, which goes through the optimizer. (Were the row gone by force, the number would make the
-- next writers fail.) LAST_INSERT_ID(x) hands the number on without reading the counter again; the writer's own
-- LAST_INSERT_ID comes back when the trigger ends.

SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION';
UPDATE permtab_store SET schema_state = 'applying 3';

DELIMITER //

CREATE TRIGGER permtab_permission_insert AFTER INSERT ON permtab_permission FOR EACH ROW
BEGIN
    INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
        ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
    INSERT INTO permtab_change (revision, kind)
        VALUES (LAST_INSERT_ID(), 1);
END//

CREATE TRIGGER permtab_permission_update AFTER UPDATE ON permtab_permission FOR EACH ROW
BEGIN
    IF NOT (BINARY OLD.description <=> BINARY NEW.description
            AND OLD.grants_all <=> NEW.grants_all
            AND OLD.deprecated <=> NEW.deprecated
            AND OLD.deleted <=> NEW.deleted) THEN
        INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
            ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
        INSERT INTO permtab_change (revision, kind)
            VALUES (LAST_INSERT_ID(), 1);
    END IF;
END//

CREATE TRIGGER permtab_requirement_insert AFTER INSERT ON permtab_requirement FOR EACH ROW
BEGIN
    INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
        ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
    INSERT INTO permtab_change (revision, kind)
        VALUES (LAST_INSERT_ID(), 1);
END//

CREATE TRIGGER permtab_requirement_delete AFTER DELETE ON permtab_requirement FOR EACH ROW
BEGIN
    INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
        ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
    INSERT INTO permtab_change (revision, kind)
        VALUES (LAST_INSERT_ID(), 1);
END//

CREATE TRIGGER permtab_requirement_update AFTER UPDATE ON permtab_requirement FOR EACH ROW
BEGIN
    IF NOT (BINARY OLD.permission <=> BINARY NEW.permission
            AND BINARY OLD.requires <=> BINARY NEW.requires) THEN
        INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
            ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
        INSERT INTO permtab_change (revision, kind)
            VALUES (LAST_INSERT_ID(), 1);
    END IF;
END//

CREATE TRIGGER permtab_scope_type_insert AFTER INSERT ON permtab_scope_type FOR EACH ROW
BEGIN
    INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
        ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
    INSERT INTO permtab_change (revision, kind)
        VALUES (LAST_INSERT_ID(), 2);
END//

CREATE TRIGGER permtab_scope_insert AFTER INSERT ON permtab_scope FOR EACH ROW
BEGIN
    INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
        ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
    INSERT INTO permtab_change (revision, kind, scope_type, scope_id)
        VALUES (LAST_INSERT_ID(), 3, NEW.type, NEW.id);
END//

CREATE TRIGGER permtab_scope_delete AFTER DELETE ON permtab_scope FOR EACH ROW
BEGIN
    INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
        ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
    INSERT INTO permtab_change (revision, kind, scope_type, scope_id)
        VALUES (LAST_INSERT_ID(), 3, OLD.type, OLD.id);
END//

CREATE TRIGGER permtab_scope_update AFTER UPDATE ON permtab_scope FOR EACH ROW
BEGIN
    IF NOT (OLD.type <=> NEW.type
            AND OLD.id <=> NEW.id
            AND OLD.parent_type <=> NEW.parent_type
            AND OLD.parent_id <=> NEW.parent_id
            AND OLD.owner <=> NEW.owner) THEN
        IF NOT (OLD.type <=> NEW.type AND OLD.id <=> NEW.id) THEN
            INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
                ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
            INSERT INTO permtab_change (revision, kind, scope_type, scope_id)
                VALUES (LAST_INSERT_ID(), 3, OLD.type, OLD.id);
        END IF;
        INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
            ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
        INSERT INTO permtab_change (revision, kind, scope_type, scope_id)
            VALUES (LAST_INSERT_ID(), 3, NEW.type, NEW.id);
    END IF;
END//

CREATE TRIGGER permtab_role_insert AFTER INSERT ON permtab_role FOR EACH ROW
BEGIN
    INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
        ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
    INSERT INTO permtab_change (revision, kind, role_id, scope_type, scope_id)
        VALUES (LAST_INSERT_ID(), 4, NEW.id, NEW.scope_type, NEW.scope_id);
END//

CREATE TRIGGER permtab_role_delete AFTER DELETE ON permtab_role FOR EACH ROW
BEGIN
    INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
        ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
    INSERT INTO permtab_change (revision, kind, role_id, scope_type, scope_id)
        VALUES (LAST_INSERT_ID(), 4, OLD.id, OLD.scope_type, OLD.scope_id);
END//

CREATE TRIGGER permtab_role_update AFTER UPDATE ON permtab_role FOR EACH ROW
BEGIN
    IF NOT (OLD.id <=> NEW.id
            AND OLD.scope_type <=> NEW.scope_type
            AND OLD.scope_id <=> NEW.scope_id
            AND BINARY OLD.name <=> BINARY NEW.name
            AND OLD.is_default <=> NEW.is_default
            AND OLD.active <=> NEW.active) THEN
        IF NOT (OLD.id <=> NEW.id AND OLD.scope_type <=> NEW.scope_type AND OLD.scope_id <=> NEW.scope_id) THEN
            INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
                ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
            INSERT INTO permtab_change (revision, kind, role_id, scope_type, scope_id)
                VALUES (LAST_INSERT_ID(), 4, OLD.id, OLD.scope_type, OLD.scope_id);
        END IF;
        INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
            ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
        INSERT INTO permtab_change (revision, kind, role_id, scope_type, scope_id)
            VALUES (LAST_INSERT_ID(), 4, NEW.id, NEW.scope_type, NEW.scope_id);
    END IF;
END//

CREATE TRIGGER permtab_role_permission_insert AFTER INSERT ON permtab_role_permission FOR EACH ROW
BEGIN
    INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
        ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
    INSERT INTO permtab_change (revision, kind, role_id)
        VALUES (LAST_INSERT_ID(), 5, NEW.role_id);
END//

CREATE TRIGGER permtab_role_permission_delete AFTER DELETE ON permtab_role_permission FOR EACH ROW
BEGIN
    INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
        ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
    INSERT INTO permtab_change (revision, kind, role_id)
        VALUES (LAST_INSERT_ID(), 5, OLD.role_id);
END//

CREATE TRIGGER permtab_role_permission_update AFTER UPDATE ON permtab_role_permission FOR EACH ROW
BEGIN
    IF NOT (OLD.role_id <=> NEW.role_id
            AND BINARY OLD.permission <=> BINARY NEW.permission
            AND BINARY OLD.effect <=> BINARY NEW.effect) THEN
        IF NOT (OLD.role_id <=> NEW.role_id) THEN
            INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
                ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
            INSERT INTO permtab_change (revision, kind, role_id)
                VALUES (LAST_INSERT_ID(), 5, OLD.role_id);
        END IF;
        INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
            ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
        INSERT INTO permtab_change (revision, kind, role_id)
            VALUES (LAST_INSERT_ID(), 5, NEW.role_id);
    END IF;
END//

CREATE TRIGGER permtab_role_parent_insert AFTER INSERT ON permtab_role_parent FOR EACH ROW
BEGIN
    INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
        ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
    INSERT INTO permtab_change (revision, kind, role_id)
        VALUES (LAST_INSERT_ID(), 6, NEW.role_id);
END//

CREATE TRIGGER permtab_role_parent_delete AFTER DELETE ON permtab_role_parent FOR EACH ROW
BEGIN
    INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
        ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
    INSERT INTO permtab_change (revision, kind, role_id)
        VALUES (LAST_INSERT_ID(), 6, OLD.role_id);
END//

CREATE TRIGGER permtab_role_parent_update AFTER UPDATE ON permtab_role_parent FOR EACH ROW
BEGIN
    IF NOT (OLD.role_id <=> NEW.role_id AND OLD.parent_id <=> NEW.parent_id) THEN
        IF NOT (OLD.role_id <=> NEW.role_id) THEN
            INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
                ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
            INSERT INTO permtab_change (revision, kind, role_id)
                VALUES (LAST_INSERT_ID(), 6, OLD.role_id);
        END IF;
        INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
            ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
        INSERT INTO permtab_change (revision, kind, role_id)
            VALUES (LAST_INSERT_ID(), 6, NEW.role_id);
    END IF;
END//

CREATE TRIGGER permtab_assignment_insert AFTER INSERT ON permtab_assignment FOR EACH ROW
BEGIN
    INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
        ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
    INSERT INTO permtab_change (revision, kind, user_id, role_id, scope_type, scope_id)
        VALUES (LAST_INSERT_ID(), 7, NEW.user_id, NEW.role_id, NEW.scope_type, NEW.scope_id);
END//

CREATE TRIGGER permtab_assignment_delete AFTER DELETE ON permtab_assignment FOR EACH ROW
BEGIN
    INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
        ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
    INSERT INTO permtab_change (revision, kind, user_id, role_id, scope_type, scope_id)
        VALUES (LAST_INSERT_ID(), 7, OLD.user_id, OLD.role_id, OLD.scope_type, OLD.scope_id);
END//

CREATE TRIGGER permtab_assignment_update AFTER UPDATE ON permtab_assignment FOR EACH ROW
BEGIN
    IF NOT (OLD.user_id <=> NEW.user_id
            AND OLD.role_id <=> NEW.role_id
            AND OLD.scope_type <=> NEW.scope_type
            AND OLD.scope_id <=> NEW.scope_id
            AND OLD.expires_at <=> NEW.expires_at) THEN
        IF NOT (OLD.user_id <=> NEW.user_id
            AND OLD.role_id <=> NEW.role_id
            AND OLD.scope_type <=> NEW.scope_type
            AND OLD.scope_id <=> NEW.scope_id) THEN
            INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
                ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
            INSERT INTO permtab_change (revision, kind, user_id, role_id, scope_type, scope_id)
                VALUES (LAST_INSERT_ID(), 7, OLD.user_id, OLD.role_id, OLD.scope_type, OLD.scope_id);
        END IF;
        INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
            ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
        INSERT INTO permtab_change (revision, kind, user_id, role_id, scope_type, scope_id)
            VALUES (LAST_INSERT_ID(), 7, NEW.user_id, NEW.role_id, NEW.scope_type, NEW.scope_id);
    END IF;
END//

CREATE TRIGGER permtab_overwrite_insert AFTER INSERT ON permtab_overwrite FOR EACH ROW
BEGIN
    INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
        ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
    INSERT INTO permtab_change (revision, kind, user_id, role_id, scope_type, scope_id)
        VALUES (LAST_INSERT_ID(),
                8,
                IF(NEW.subject = 'user', NEW.subject_id, 0),
                IF(NEW.subject = 'role', NEW.subject_id, 0),
                NEW.scope_type,
                NEW.scope_id);
END//

CREATE TRIGGER permtab_overwrite_delete AFTER DELETE ON permtab_overwrite FOR EACH ROW
BEGIN
    INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
        ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
    INSERT INTO permtab_change (revision, kind, user_id, role_id, scope_type, scope_id)
        VALUES (LAST_INSERT_ID(),
                8,
                IF(OLD.subject = 'user', OLD.subject_id, 0),
                IF(OLD.subject = 'role', OLD.subject_id, 0),
                OLD.scope_type,
                OLD.scope_id);
END//

CREATE TRIGGER permtab_overwrite_update AFTER UPDATE ON permtab_overwrite FOR EACH ROW
BEGIN
    IF NOT (OLD.scope_type <=> NEW.scope_type
            AND OLD.scope_id <=> NEW.scope_id
            AND BINARY OLD.subject <=> BINARY NEW.subject
            AND OLD.subject_id <=> NEW.subject_id
            AND BINARY OLD.permission <=> BINARY NEW.permission
            AND BINARY OLD.effect <=> BINARY NEW.effect) THEN
        IF NOT (OLD.scope_type <=> NEW.scope_type
            AND OLD.scope_id <=> NEW.scope_id
            AND BINARY OLD.subject <=> BINARY NEW.subject
            AND OLD.subject_id <=> NEW.subject_id) THEN
            INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
                ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
            INSERT INTO permtab_change (revision, kind, user_id, role_id, scope_type, scope_id)
                VALUES (LAST_INSERT_ID(),
                        8,
                        IF(OLD.subject = 'user', OLD.subject_id, 0),
                        IF(OLD.subject = 'role', OLD.subject_id, 0),
                        OLD.scope_type,
                        OLD.scope_id);
        END IF;
        INSERT INTO permtab_counter VALUES (1, 18446744073709551615)
            ON DUPLICATE KEY UPDATE revision = LAST_INSERT_ID(revision + 1);
        INSERT INTO permtab_change (revision, kind, user_id, role_id, scope_type, scope_id)
            VALUES (LAST_INSERT_ID(),
                    8,
                    IF(NEW.subject = 'user', NEW.subject_id, 0),
                    IF(NEW.subject = 'role', NEW.subject_id, 0),
                    NEW.scope_type,
                    NEW.scope_id);
    END IF;
END//

DELIMITER ;

UPDATE permtab_store SET schema_state = 'ready', schema_version = 3;
COMMIT;
