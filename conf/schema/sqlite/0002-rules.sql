-- permtab, schema 2, SQLite: what is refused, whoever writes. Also the references, which foreign keys keep as well, except
-- for programs that leave them off.

UPDATE permtab_store SET schema_state = 'applying 2';

-- The log keeps itself: it gives the numbers, rows are neither rewritten nor taken out of the middle. A row that brings no
-- number has one below zero at this point (the real one is found later); the table's check refuses those who bring such a one.

CREATE TRIGGER permtab_change_insert BEFORE INSERT ON permtab_change
WHEN NEW.revision > 0
BEGIN
    SELECT RAISE(ABORT, 'permtab: the log numbers its rows itself');
END;

CREATE TRIGGER permtab_counter_update INSTEAD OF UPDATE ON permtab_counter
BEGIN
    SELECT RAISE(ABORT, 'permtab: the revision counter is read from the log, it cannot be set');
END;

CREATE TRIGGER permtab_counter_insert INSTEAD OF INSERT ON permtab_counter
BEGIN
    SELECT RAISE(ABORT, 'permtab: there is one revision counter');
END;

CREATE TRIGGER permtab_counter_delete INSTEAD OF DELETE ON permtab_counter
BEGIN
    SELECT RAISE(ABORT, 'permtab: the revision counter cannot be deleted');
END;

CREATE TRIGGER permtab_store_delete BEFORE DELETE ON permtab_store
BEGIN
    SELECT RAISE(ABORT, 'permtab: the row of the store cannot be deleted');
END;

CREATE TRIGGER permtab_change_update BEFORE UPDATE ON permtab_change
BEGIN
    SELECT RAISE(ABORT, 'permtab: change rows are not rewritten');
END;

CREATE TRIGGER permtab_change_delete BEFORE DELETE ON permtab_change
WHEN EXISTS (SELECT 1 FROM permtab_change WHERE revision = OLD.revision - 1)
    OR NOT EXISTS (SELECT 1 FROM permtab_change WHERE revision = OLD.revision + 1)
BEGIN
    SELECT RAISE(ABORT, 'permtab: change rows go from the oldest on, and the newest one stays');
END;

-- references and rules. NOT EXISTS for what a row needs, EXISTS for what still needs a row

CREATE TRIGGER permtab_scope_type_check BEFORE INSERT ON permtab_scope_type
WHEN NEW.number IS NOT (SELECT count(*) FROM permtab_scope_type)
    OR EXISTS (SELECT 1 FROM permtab_scope_type WHERE name = NEW.name)
BEGIN
    SELECT RAISE(ABORT, 'permtab: scope types are appended: the next number, a new name');
END;

CREATE TRIGGER permtab_scope_type_keep BEFORE UPDATE ON permtab_scope_type
WHEN NEW.number IS NOT OLD.number OR NEW.name IS NOT OLD.name
BEGIN
    SELECT RAISE(ABORT, 'permtab: scope types are neither renamed nor renumbered');
END;

CREATE TRIGGER permtab_scope_type_delete BEFORE DELETE ON permtab_scope_type
BEGIN
    SELECT RAISE(ABORT, 'permtab: scope types are not deleted: their numbers are never used again');
END;

CREATE TRIGGER permtab_permission_bit BEFORE INSERT ON permtab_permission
WHEN EXISTS (SELECT 1 FROM permtab_permission WHERE bit = NEW.bit AND name <> NEW.name)
BEGIN
    SELECT RAISE(ABORT, 'permtab: the bit belongs to another permission; bits are never used again');
END;

CREATE TRIGGER permtab_permission_again BEFORE INSERT ON permtab_permission
WHEN EXISTS (SELECT 1 FROM permtab_permission
             WHERE name = NEW.name AND (bit <> NEW.bit OR deleted > NEW.deleted))
BEGIN
    SELECT RAISE(ABORT, 'permtab: a permission keeps its bit, and a deleted one stays deleted');
END;

CREATE TRIGGER permtab_permission_keep BEFORE UPDATE ON permtab_permission
WHEN NEW.name IS NOT OLD.name OR NEW.bit IS NOT OLD.bit OR NEW.deleted < OLD.deleted
BEGIN
    SELECT RAISE(ABORT, 'permtab: a permission keeps its name and its bit, and a deleted one stays deleted');
END;

CREATE TRIGGER permtab_permission_delete BEFORE DELETE ON permtab_permission
BEGIN
    SELECT RAISE(ABORT, 'permtab: permissions are not deleted: set deleted = 1');
END;

CREATE TRIGGER permtab_requirement_needs BEFORE INSERT ON permtab_requirement
WHEN NOT EXISTS (SELECT 1 FROM permtab_permission WHERE name = NEW.permission)
    OR NOT EXISTS (SELECT 1 FROM permtab_permission WHERE name = NEW.requires)
BEGIN
    SELECT RAISE(ABORT, 'permtab: no such permission');
END;

CREATE TRIGGER permtab_requirement_needs_still BEFORE UPDATE OF permission, requires
ON permtab_requirement
WHEN NOT EXISTS (SELECT 1 FROM permtab_permission WHERE name = NEW.permission)
    OR NOT EXISTS (SELECT 1 FROM permtab_permission WHERE name = NEW.requires)
BEGIN
    SELECT RAISE(ABORT, 'permtab: no such permission');
END;

CREATE TRIGGER permtab_scope_order BEFORE INSERT ON permtab_scope
WHEN CASE WHEN NEW.type = 0 THEN NEW.id <> 0 OR NEW.parent_type <> 0 OR NEW.parent_id <> 0
          ELSE NEW.parent_type >= NEW.type END
BEGIN
    SELECT RAISE(ABORT, 'permtab: a parent has a lower type than its child; global is 0:0, its own parent');
END;

CREATE TRIGGER permtab_scope_order_still BEFORE UPDATE OF type, id, parent_type, parent_id
ON permtab_scope
WHEN CASE WHEN NEW.type = 0 THEN NEW.id <> 0 OR NEW.parent_type <> 0 OR NEW.parent_id <> 0
          ELSE NEW.parent_type >= NEW.type END
BEGIN
    SELECT RAISE(ABORT, 'permtab: a parent has a lower type than its child; global is 0:0, its own parent');
END;

CREATE TRIGGER permtab_scope_needs BEFORE INSERT ON permtab_scope
WHEN NOT EXISTS (SELECT 1 FROM permtab_scope_type WHERE number = NEW.type)
    OR (NEW.type <> 0 AND NOT EXISTS (SELECT 1 FROM permtab_scope
                                      WHERE type = NEW.parent_type AND id = NEW.parent_id))
BEGIN
    SELECT RAISE(ABORT, 'permtab: no such scope type, or no such parent');
END;

CREATE TRIGGER permtab_scope_needs_still BEFORE UPDATE OF type, parent_type, parent_id
ON permtab_scope
WHEN NOT EXISTS (SELECT 1 FROM permtab_scope_type WHERE number = NEW.type)
    OR (NEW.type <> 0 AND NOT EXISTS (SELECT 1 FROM permtab_scope
                                      WHERE type = NEW.parent_type AND id = NEW.parent_id))
BEGIN
    SELECT RAISE(ABORT, 'permtab: no such scope type, or no such parent');
END;

CREATE TRIGGER permtab_scope_global BEFORE DELETE ON permtab_scope
WHEN OLD.type = 0
BEGIN
    SELECT RAISE(ABORT, 'permtab: global cannot be deleted');
END;

CREATE TRIGGER permtab_scope_used BEFORE DELETE ON permtab_scope
WHEN OLD.type <> 0 AND (EXISTS (SELECT 1 FROM permtab_scope WHERE parent_type = OLD.type AND parent_id = OLD.id AND type <> 0)
        OR EXISTS (SELECT 1 FROM permtab_role WHERE scope_type = OLD.type AND scope_id = OLD.id)
        OR EXISTS (SELECT 1 FROM permtab_assignment WHERE scope_type = OLD.type AND scope_id = OLD.id)
        OR EXISTS (SELECT 1 FROM permtab_overwrite WHERE scope_type = OLD.type AND scope_id = OLD.id))
BEGIN
    SELECT RAISE(ABORT, 'permtab: scopes, roles, assignments or overwrites refer to this scope');
END;

CREATE TRIGGER permtab_scope_used_key BEFORE UPDATE OF type, id ON permtab_scope
WHEN (NEW.type IS NOT OLD.type OR NEW.id IS NOT OLD.id) AND (OLD.type = 0
    OR EXISTS (SELECT 1 FROM permtab_scope WHERE parent_type = OLD.type AND parent_id = OLD.id AND type <> 0)
    OR EXISTS (SELECT 1 FROM permtab_role WHERE scope_type = OLD.type AND scope_id = OLD.id)
    OR EXISTS (SELECT 1 FROM permtab_assignment WHERE scope_type = OLD.type AND scope_id = OLD.id)
    OR EXISTS (SELECT 1 FROM permtab_overwrite WHERE scope_type = OLD.type AND scope_id = OLD.id))
BEGIN
    SELECT RAISE(ABORT, 'permtab: scopes, roles, assignments or overwrites refer to this scope');
END;

CREATE TRIGGER permtab_role_needs BEFORE INSERT ON permtab_role
WHEN NOT EXISTS (SELECT 1 FROM permtab_scope WHERE type = NEW.scope_type AND id = NEW.scope_id)
BEGIN
    SELECT RAISE(ABORT, 'permtab: no such scope');
END;

CREATE TRIGGER permtab_role_needs_still BEFORE UPDATE OF scope_type, scope_id ON permtab_role
WHEN NOT EXISTS (SELECT 1 FROM permtab_scope WHERE type = NEW.scope_type AND id = NEW.scope_id)
BEGIN
    SELECT RAISE(ABORT, 'permtab: no such scope');
END;

CREATE TRIGGER permtab_role_used BEFORE DELETE ON permtab_role
WHEN EXISTS (SELECT 1 FROM permtab_role_parent WHERE role_id = OLD.id)
    OR EXISTS (SELECT 1 FROM permtab_role_parent WHERE parent_id = OLD.id)
    OR EXISTS (SELECT 1 FROM permtab_role_permission WHERE role_id = OLD.id)
    OR EXISTS (SELECT 1 FROM permtab_assignment WHERE role_id = OLD.id)
    OR EXISTS (SELECT 1 FROM permtab_overwrite WHERE subject = 'role' AND subject_id = OLD.id)
BEGIN
    SELECT RAISE(ABORT, 'permtab: parents, permissions, assignments or overwrites refer to this role');
END;

CREATE TRIGGER permtab_role_used_key BEFORE UPDATE OF id ON permtab_role
WHEN NEW.id IS NOT OLD.id AND (EXISTS (SELECT 1 FROM permtab_role WHERE id = NEW.id)
    OR EXISTS (SELECT 1 FROM permtab_role_parent WHERE role_id = OLD.id)
    OR EXISTS (SELECT 1 FROM permtab_role_parent WHERE parent_id = OLD.id)
    OR EXISTS (SELECT 1 FROM permtab_role_permission WHERE role_id = OLD.id)
    OR EXISTS (SELECT 1 FROM permtab_assignment WHERE role_id = OLD.id)
    OR EXISTS (SELECT 1 FROM permtab_overwrite WHERE subject = 'role' AND subject_id = OLD.id))
BEGIN
    SELECT RAISE(ABORT, 'permtab: other rows refer to this role, or the new id is taken');
END;

CREATE TRIGGER permtab_role_parent_needs BEFORE INSERT ON permtab_role_parent
WHEN NOT EXISTS (SELECT 1 FROM permtab_role WHERE id = NEW.role_id)
    OR NOT EXISTS (SELECT 1 FROM permtab_role WHERE id = NEW.parent_id)
BEGIN
    SELECT RAISE(ABORT, 'permtab: no such role');
END;

CREATE TRIGGER permtab_role_parent_needs_still BEFORE UPDATE OF role_id, parent_id
ON permtab_role_parent
WHEN NOT EXISTS (SELECT 1 FROM permtab_role WHERE id = NEW.role_id)
    OR NOT EXISTS (SELECT 1 FROM permtab_role WHERE id = NEW.parent_id)
BEGIN
    SELECT RAISE(ABORT, 'permtab: no such role');
END;

CREATE TRIGGER permtab_role_permission_needs BEFORE INSERT ON permtab_role_permission
WHEN NOT EXISTS (SELECT 1 FROM permtab_role WHERE id = NEW.role_id)
    OR NOT EXISTS (SELECT 1 FROM permtab_permission WHERE name = NEW.permission)
BEGIN
    SELECT RAISE(ABORT, 'permtab: no such role, or no such permission');
END;

CREATE TRIGGER permtab_role_permission_needs_still BEFORE UPDATE OF role_id, permission
ON permtab_role_permission
WHEN NOT EXISTS (SELECT 1 FROM permtab_role WHERE id = NEW.role_id)
    OR NOT EXISTS (SELECT 1 FROM permtab_permission WHERE name = NEW.permission)
BEGIN
    SELECT RAISE(ABORT, 'permtab: no such role, or no such permission');
END;

CREATE TRIGGER permtab_assignment_needs BEFORE INSERT ON permtab_assignment
WHEN NOT EXISTS (SELECT 1 FROM permtab_role WHERE id = NEW.role_id)
    OR NOT EXISTS (SELECT 1 FROM permtab_scope WHERE type = NEW.scope_type AND id = NEW.scope_id)
BEGIN
    SELECT RAISE(ABORT, 'permtab: no such role, or no such scope');
END;

CREATE TRIGGER permtab_assignment_needs_still BEFORE UPDATE OF role_id, scope_type, scope_id
ON permtab_assignment
WHEN NOT EXISTS (SELECT 1 FROM permtab_role WHERE id = NEW.role_id)
    OR NOT EXISTS (SELECT 1 FROM permtab_scope WHERE type = NEW.scope_type AND id = NEW.scope_id)
BEGIN
    SELECT RAISE(ABORT, 'permtab: no such role, or no such scope');
END;

CREATE TRIGGER permtab_overwrite_needs BEFORE INSERT ON permtab_overwrite
WHEN NOT EXISTS (SELECT 1 FROM permtab_scope WHERE type = NEW.scope_type AND id = NEW.scope_id)
    OR NOT EXISTS (SELECT 1 FROM permtab_permission WHERE name = NEW.permission)
    OR (NEW.subject = 'role' AND NOT EXISTS (SELECT 1 FROM permtab_role WHERE id = NEW.subject_id))
BEGIN
    SELECT RAISE(ABORT, 'permtab: no such scope, permission or role');
END;

CREATE TRIGGER permtab_overwrite_needs_still BEFORE UPDATE OF scope_type, scope_id, subject, subject_id, permission
ON permtab_overwrite
WHEN NOT EXISTS (SELECT 1 FROM permtab_scope WHERE type = NEW.scope_type AND id = NEW.scope_id)
    OR NOT EXISTS (SELECT 1 FROM permtab_permission WHERE name = NEW.permission)
    OR (NEW.subject = 'role' AND NOT EXISTS (SELECT 1 FROM permtab_role WHERE id = NEW.subject_id))
BEGIN
    SELECT RAISE(ABORT, 'permtab: no such scope, permission or role');
END;

UPDATE permtab_store SET schema_state = 'ready', schema_version = 2;
