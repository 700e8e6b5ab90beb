-- permtab, schema 2, MariaDB and MySQL: what is refused, whoever writes. Sessions may turn foreign_key_checks and
-- check_constraint_checks off, triggers not. What they read they lock: a plain read would see the past of its
-- transaction. No text in a trigger has a backslash: information_schema shows it without, and tools that make triggers again
-- from there (pt-online-schema-change) would make other ones.

SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION';
UPDATE permtab_store SET schema_state = 'applying 2';

DELIMITER //

-- The log keeps itself: numbers go up by one, rows are neither rewritten nor taken out of the middle. The counter needs no
-- trigger on INSERT: its one row is always there, and REPLACE deletes it first.

CREATE TRIGGER permtab_counter_update BEFORE UPDATE ON permtab_counter FOR EACH ROW
BEGIN
    IF NEW.one <> OLD.one OR NEW.revision <> OLD.revision + 1 THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: the revision counter only goes up by one';
    END IF;
END//

CREATE TRIGGER permtab_counter_delete BEFORE DELETE ON permtab_counter FOR EACH ROW
BEGIN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: the revision counter cannot be deleted';
END//

CREATE TRIGGER permtab_store_delete BEFORE DELETE ON permtab_store FOR EACH ROW
BEGIN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: the row of the store cannot be deleted';
END//

CREATE TRIGGER permtab_change_update BEFORE UPDATE ON permtab_change FOR EACH ROW
BEGIN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: change rows are not rewritten';
END//

CREATE TRIGGER permtab_change_delete BEFORE DELETE ON permtab_change FOR EACH ROW
BEGIN
    IF EXISTS (SELECT 1 FROM permtab_change WHERE revision = OLD.revision - 1)
            OR NOT EXISTS (SELECT 1 FROM permtab_change WHERE revision = OLD.revision + 1) THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: change rows go from the oldest on, and the newest one stays';
    END IF;
END//

-- scope types and permissions

CREATE TRIGGER permtab_scope_type_check BEFORE INSERT ON permtab_scope_type FOR EACH ROW
BEGIN
    IF NEW.name NOT REGEXP '^[a-z0-9_]' OR NEW.name REGEXP '[^a-z0-9_]' THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: a scope type is named with a-z, 0-9 and _';
    END IF;
    IF NEW.number <> (SELECT COUNT(*) FROM permtab_scope_type LOCK IN SHARE MODE)
            OR EXISTS (SELECT 1 FROM permtab_scope_type WHERE name = NEW.name LOCK IN SHARE MODE) THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: scope types are appended: the next number, a new name';
    END IF;
END//

CREATE TRIGGER permtab_scope_type_keep BEFORE UPDATE ON permtab_scope_type FOR EACH ROW
BEGIN
    IF NEW.number <> OLD.number OR BINARY NEW.name <> BINARY OLD.name THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: scope types are neither renamed nor renumbered';
    END IF;
END//

CREATE TRIGGER permtab_scope_type_delete BEFORE DELETE ON permtab_scope_type FOR EACH ROW
BEGIN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: scope types are not deleted: their numbers are never used again';
END//

CREATE TRIGGER permtab_permission_check BEFORE INSERT ON permtab_permission FOR EACH ROW
BEGIN
    IF NEW.name NOT REGEXP '^[a-z0-9_]+([.][a-z0-9_]+)*$' OR NEW.name REGEXP '[^a-z0-9_.]' THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: a permission is named with a-z, 0-9 and _, in parts with dots between';
    END IF;
    IF EXISTS (SELECT 1 FROM permtab_permission WHERE bit = NEW.bit AND name <> NEW.name LOCK IN SHARE MODE) THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: the bit belongs to another permission; bits are never used again';
    END IF;
END//

CREATE TRIGGER permtab_permission_keep BEFORE UPDATE ON permtab_permission FOR EACH ROW
BEGIN
    IF BINARY NEW.name <> BINARY OLD.name OR NEW.bit <> OLD.bit OR NEW.deleted < OLD.deleted THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: a permission keeps its name and its bit, and a deleted one stays deleted';
    END IF;
END//

CREATE TRIGGER permtab_permission_delete BEFORE DELETE ON permtab_permission FOR EACH ROW
BEGIN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: permissions are not deleted: set deleted = 1';
END//

-- scopes

CREATE TRIGGER permtab_scope_order BEFORE INSERT ON permtab_scope FOR EACH ROW
BEGIN
    IF NEW.type = 0 AND (NEW.id <> 0 OR NEW.parent_type <> 0 OR NEW.parent_id <> 0)
            OR NEW.type > 0 AND NEW.parent_type >= NEW.type THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: a parent has a lower type than its child; global is 0:0, its own parent';
    END IF;
END//

CREATE TRIGGER permtab_scope_order_still BEFORE UPDATE ON permtab_scope FOR EACH ROW
BEGIN
    IF NEW.type = 0 AND (NEW.id <> 0 OR NEW.parent_type <> 0 OR NEW.parent_id <> 0)
            OR NEW.type > 0 AND NEW.parent_type >= NEW.type THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: a parent has a lower type than its child; global is 0:0, its own parent';
    END IF;
    IF OLD.type = 0 AND NEW.type <> 0 THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: global cannot be deleted';
    END IF;
    IF (NEW.type <> OLD.type OR NEW.id <> OLD.id)
            AND (EXISTS (SELECT 1 FROM permtab_scope WHERE parent_type = OLD.type AND parent_id = OLD.id AND type <> 0 LOCK IN SHARE MODE)
                 OR EXISTS (SELECT 1 FROM permtab_role WHERE scope_type = OLD.type AND scope_id = OLD.id LOCK IN SHARE MODE)
                 OR EXISTS (SELECT 1 FROM permtab_assignment WHERE scope_type = OLD.type AND scope_id = OLD.id LOCK IN SHARE MODE)
                 OR EXISTS (SELECT 1 FROM permtab_overwrite WHERE scope_type = OLD.type AND scope_id = OLD.id LOCK IN SHARE MODE)) THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: scopes, roles, assignments or overwrites refer to this scope';
    END IF;
END//

CREATE TRIGGER permtab_scope_used BEFORE DELETE ON permtab_scope FOR EACH ROW
BEGIN
    IF OLD.type = 0 THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: global cannot be deleted';
    END IF;
    IF EXISTS (SELECT 1 FROM permtab_scope WHERE parent_type = OLD.type AND parent_id = OLD.id AND type <> 0 LOCK IN SHARE MODE)
            OR EXISTS (SELECT 1 FROM permtab_role WHERE scope_type = OLD.type AND scope_id = OLD.id LOCK IN SHARE MODE)
            OR EXISTS (SELECT 1 FROM permtab_assignment WHERE scope_type = OLD.type AND scope_id = OLD.id LOCK IN SHARE MODE)
            OR EXISTS (SELECT 1 FROM permtab_overwrite WHERE scope_type = OLD.type AND scope_id = OLD.id LOCK IN SHARE MODE) THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: scopes, roles, assignments or overwrites refer to this scope';
    END IF;
END//

-- roles

CREATE TRIGGER permtab_role_used BEFORE DELETE ON permtab_role FOR EACH ROW
BEGIN
    IF EXISTS (SELECT 1 FROM permtab_role_parent WHERE role_id = OLD.id LOCK IN SHARE MODE)
            OR EXISTS (SELECT 1 FROM permtab_role_parent WHERE parent_id = OLD.id LOCK IN SHARE MODE)
            OR EXISTS (SELECT 1 FROM permtab_role_permission WHERE role_id = OLD.id LOCK IN SHARE MODE)
            OR EXISTS (SELECT 1 FROM permtab_assignment WHERE role_id = OLD.id LOCK IN SHARE MODE)
            OR EXISTS (SELECT 1 FROM permtab_overwrite WHERE subject = 'role' AND subject_id = OLD.id LOCK IN SHARE MODE) THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: parents, permissions, assignments or overwrites refer to this role';
    END IF;
END//

CREATE TRIGGER permtab_role_used_key BEFORE UPDATE ON permtab_role FOR EACH ROW
BEGIN
    IF NEW.id <> OLD.id
            AND (EXISTS (SELECT 1 FROM permtab_role_parent WHERE role_id = OLD.id LOCK IN SHARE MODE)
                 OR EXISTS (SELECT 1 FROM permtab_role_parent WHERE parent_id = OLD.id LOCK IN SHARE MODE)
                 OR EXISTS (SELECT 1 FROM permtab_role_permission WHERE role_id = OLD.id LOCK IN SHARE MODE)
                 OR EXISTS (SELECT 1 FROM permtab_assignment WHERE role_id = OLD.id LOCK IN SHARE MODE)
                 OR EXISTS (SELECT 1 FROM permtab_overwrite WHERE subject = 'role' AND subject_id = OLD.id LOCK IN SHARE MODE)) THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: parents, permissions, assignments or overwrites refer to this role';
    END IF;
END//

CREATE TRIGGER permtab_overwrite_needs BEFORE INSERT ON permtab_overwrite FOR EACH ROW
BEGIN
    IF NEW.subject = 'role' AND NOT EXISTS (SELECT 1 FROM permtab_role WHERE id = NEW.subject_id LOCK IN SHARE MODE) THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: no such role';
    END IF;
END//

CREATE TRIGGER permtab_overwrite_needs_still BEFORE UPDATE ON permtab_overwrite FOR EACH ROW
BEGIN
    IF NEW.subject = 'role' AND NOT EXISTS (SELECT 1 FROM permtab_role WHERE id = NEW.subject_id LOCK IN SHARE MODE) THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'permtab: no such role';
    END IF;
END//

DELIMITER ;

UPDATE permtab_store SET schema_state = 'ready', schema_version = 2;
COMMIT;
