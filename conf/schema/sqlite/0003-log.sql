-- permtab, schema 3, SQLite: the log. Each trigger appends a row that says which key to read again, and the row gets the
-- next number. An update that changes nothing appends none; one that changes the key appends one for the old key and
-- one for the new one (SQLite runs the trigger that was made last first).

UPDATE permtab_store SET schema_state = 'applying 3';

CREATE TRIGGER permtab_permission_insert AFTER INSERT ON permtab_permission
BEGIN
    INSERT INTO permtab_change (kind) VALUES (1);
END;

CREATE TRIGGER permtab_permission_update AFTER UPDATE ON permtab_permission
WHEN NEW.description IS NOT OLD.description OR NEW.grants_all IS NOT OLD.grants_all
    OR NEW.deprecated IS NOT OLD.deprecated OR NEW.deleted IS NOT OLD.deleted
BEGIN
    INSERT INTO permtab_change (kind) VALUES (1);
END;

CREATE TRIGGER permtab_requirement_insert AFTER INSERT ON permtab_requirement
BEGIN
    INSERT INTO permtab_change (kind) VALUES (1);
END;

CREATE TRIGGER permtab_requirement_delete AFTER DELETE ON permtab_requirement
BEGIN
    INSERT INTO permtab_change (kind) VALUES (1);
END;

CREATE TRIGGER permtab_requirement_update AFTER UPDATE ON permtab_requirement
WHEN NEW.permission IS NOT OLD.permission
    OR NEW.requires IS NOT OLD.requires
BEGIN
    INSERT INTO permtab_change (kind) VALUES (1);
END;

CREATE TRIGGER permtab_scope_type_insert AFTER INSERT ON permtab_scope_type
BEGIN
    INSERT INTO permtab_change (kind) VALUES (2);
END;

CREATE TRIGGER permtab_scope_insert AFTER INSERT ON permtab_scope
BEGIN
    INSERT INTO permtab_change (kind, scope_type, scope_id) VALUES (3, NEW.type, NEW.id);
END;

CREATE TRIGGER permtab_scope_delete AFTER DELETE ON permtab_scope
BEGIN
    INSERT INTO permtab_change (kind, scope_type, scope_id) VALUES (3, OLD.type, OLD.id);
END;

CREATE TRIGGER permtab_scope_update AFTER UPDATE ON permtab_scope
WHEN NEW.type IS NOT OLD.type
    OR NEW.id IS NOT OLD.id
    OR NEW.parent_type IS NOT OLD.parent_type
    OR NEW.parent_id IS NOT OLD.parent_id
    OR NEW.owner IS NOT OLD.owner
BEGIN
    INSERT INTO permtab_change (kind, scope_type, scope_id) VALUES (3, NEW.type, NEW.id);
END;

CREATE TRIGGER permtab_scope_update_old AFTER UPDATE ON permtab_scope
WHEN NEW.type IS NOT OLD.type
    OR NEW.id IS NOT OLD.id
BEGIN
    INSERT INTO permtab_change (kind, scope_type, scope_id) VALUES (3, OLD.type, OLD.id);
END;

CREATE TRIGGER permtab_role_insert AFTER INSERT ON permtab_role
BEGIN
    INSERT INTO permtab_change (kind, role_id, scope_type, scope_id) VALUES (4, NEW.id, NEW.scope_type, NEW.scope_id);
END;

CREATE TRIGGER permtab_role_delete AFTER DELETE ON permtab_role
BEGIN
    INSERT INTO permtab_change (kind, role_id, scope_type, scope_id) VALUES (4, OLD.id, OLD.scope_type, OLD.scope_id);
END;

CREATE TRIGGER permtab_role_update AFTER UPDATE ON permtab_role
WHEN NEW.id IS NOT OLD.id
    OR NEW.scope_type IS NOT OLD.scope_type
    OR NEW.scope_id IS NOT OLD.scope_id
    OR NEW.name IS NOT OLD.name
    OR NEW.is_default IS NOT OLD.is_default
    OR NEW.active IS NOT OLD.active
BEGIN
    INSERT INTO permtab_change (kind, role_id, scope_type, scope_id) VALUES (4, NEW.id, NEW.scope_type, NEW.scope_id);
END;

CREATE TRIGGER permtab_role_update_old AFTER UPDATE ON permtab_role
WHEN NEW.id IS NOT OLD.id
    OR NEW.scope_type IS NOT OLD.scope_type
    OR NEW.scope_id IS NOT OLD.scope_id
BEGIN
    INSERT INTO permtab_change (kind, role_id, scope_type, scope_id) VALUES (4, OLD.id, OLD.scope_type, OLD.scope_id);
END;

-- REPLACE: the row that goes is not seen by a delete trigger, and its scope may be another one.
CREATE TRIGGER permtab_role_replace BEFORE INSERT ON permtab_role
WHEN EXISTS (SELECT 1 FROM permtab_role
             WHERE id = NEW.id AND (scope_type <> NEW.scope_type OR scope_id <> NEW.scope_id))
BEGIN
    INSERT INTO permtab_change (kind, role_id, scope_type, scope_id)
        SELECT 4, id, scope_type, scope_id FROM permtab_role WHERE id = NEW.id;
END;

CREATE TRIGGER permtab_role_permission_insert AFTER INSERT ON permtab_role_permission
BEGIN
    INSERT INTO permtab_change (kind, role_id) VALUES (5, NEW.role_id);
END;

CREATE TRIGGER permtab_role_permission_delete AFTER DELETE ON permtab_role_permission
BEGIN
    INSERT INTO permtab_change (kind, role_id) VALUES (5, OLD.role_id);
END;

CREATE TRIGGER permtab_role_permission_update AFTER UPDATE ON permtab_role_permission
WHEN NEW.role_id IS NOT OLD.role_id
    OR NEW.permission IS NOT OLD.permission
    OR NEW.effect IS NOT OLD.effect
BEGIN
    INSERT INTO permtab_change (kind, role_id) VALUES (5, NEW.role_id);
END;

CREATE TRIGGER permtab_role_permission_update_old AFTER UPDATE ON permtab_role_permission
WHEN NEW.role_id IS NOT OLD.role_id
BEGIN
    INSERT INTO permtab_change (kind, role_id) VALUES (5, OLD.role_id);
END;

CREATE TRIGGER permtab_role_parent_insert AFTER INSERT ON permtab_role_parent
BEGIN
    INSERT INTO permtab_change (kind, role_id) VALUES (6, NEW.role_id);
END;

CREATE TRIGGER permtab_role_parent_delete AFTER DELETE ON permtab_role_parent
BEGIN
    INSERT INTO permtab_change (kind, role_id) VALUES (6, OLD.role_id);
END;

CREATE TRIGGER permtab_role_parent_update AFTER UPDATE ON permtab_role_parent
WHEN NEW.role_id IS NOT OLD.role_id
    OR NEW.parent_id IS NOT OLD.parent_id
BEGIN
    INSERT INTO permtab_change (kind, role_id) VALUES (6, NEW.role_id);
END;

CREATE TRIGGER permtab_role_parent_update_old AFTER UPDATE ON permtab_role_parent
WHEN NEW.role_id IS NOT OLD.role_id
BEGIN
    INSERT INTO permtab_change (kind, role_id) VALUES (6, OLD.role_id);
END;

CREATE TRIGGER permtab_assignment_insert AFTER INSERT ON permtab_assignment
BEGIN
    INSERT INTO permtab_change (kind, user_id, role_id, scope_type, scope_id)
        VALUES (7, NEW.user_id, NEW.role_id, NEW.scope_type, NEW.scope_id);
END;

CREATE TRIGGER permtab_assignment_delete AFTER DELETE ON permtab_assignment
BEGIN
    INSERT INTO permtab_change (kind, user_id, role_id, scope_type, scope_id)
        VALUES (7, OLD.user_id, OLD.role_id, OLD.scope_type, OLD.scope_id);
END;

CREATE TRIGGER permtab_assignment_update AFTER UPDATE ON permtab_assignment
WHEN NEW.user_id IS NOT OLD.user_id
    OR NEW.role_id IS NOT OLD.role_id
    OR NEW.scope_type IS NOT OLD.scope_type
    OR NEW.scope_id IS NOT OLD.scope_id
    OR NEW.expires_at IS NOT OLD.expires_at
BEGIN
    INSERT INTO permtab_change (kind, user_id, role_id, scope_type, scope_id)
        VALUES (7, NEW.user_id, NEW.role_id, NEW.scope_type, NEW.scope_id);
END;

CREATE TRIGGER permtab_assignment_update_old AFTER UPDATE ON permtab_assignment
WHEN NEW.user_id IS NOT OLD.user_id
    OR NEW.role_id IS NOT OLD.role_id
    OR NEW.scope_type IS NOT OLD.scope_type
    OR NEW.scope_id IS NOT OLD.scope_id
BEGIN
    INSERT INTO permtab_change (kind, user_id, role_id, scope_type, scope_id)
        VALUES (7, OLD.user_id, OLD.role_id, OLD.scope_type, OLD.scope_id);
END;

CREATE TRIGGER permtab_overwrite_insert AFTER INSERT ON permtab_overwrite
BEGIN
    INSERT INTO permtab_change (kind, user_id, role_id, scope_type, scope_id)
        VALUES (8, CASE NEW.subject WHEN 'user' THEN NEW.subject_id ELSE 0 END,
                CASE NEW.subject WHEN 'role' THEN NEW.subject_id ELSE 0 END, NEW.scope_type, NEW.scope_id);
END;

CREATE TRIGGER permtab_overwrite_delete AFTER DELETE ON permtab_overwrite
BEGIN
    INSERT INTO permtab_change (kind, user_id, role_id, scope_type, scope_id)
        VALUES (8, CASE OLD.subject WHEN 'user' THEN OLD.subject_id ELSE 0 END,
                CASE OLD.subject WHEN 'role' THEN OLD.subject_id ELSE 0 END, OLD.scope_type, OLD.scope_id);
END;

CREATE TRIGGER permtab_overwrite_update AFTER UPDATE ON permtab_overwrite
WHEN NEW.scope_type IS NOT OLD.scope_type
    OR NEW.scope_id IS NOT OLD.scope_id
    OR NEW.subject IS NOT OLD.subject
    OR NEW.subject_id IS NOT OLD.subject_id
    OR NEW.permission IS NOT OLD.permission
    OR NEW.effect IS NOT OLD.effect
BEGIN
    INSERT INTO permtab_change (kind, user_id, role_id, scope_type, scope_id)
        VALUES (8, CASE NEW.subject WHEN 'user' THEN NEW.subject_id ELSE 0 END,
                CASE NEW.subject WHEN 'role' THEN NEW.subject_id ELSE 0 END, NEW.scope_type, NEW.scope_id);
END;

CREATE TRIGGER permtab_overwrite_update_old AFTER UPDATE ON permtab_overwrite
WHEN NEW.scope_type IS NOT OLD.scope_type
    OR NEW.scope_id IS NOT OLD.scope_id
    OR NEW.subject IS NOT OLD.subject
    OR NEW.subject_id IS NOT OLD.subject_id
BEGIN
    INSERT INTO permtab_change (kind, user_id, role_id, scope_type, scope_id)
        VALUES (8, CASE OLD.subject WHEN 'user' THEN OLD.subject_id ELSE 0 END,
                CASE OLD.subject WHEN 'role' THEN OLD.subject_id ELSE 0 END, OLD.scope_type, OLD.scope_id);
END;

UPDATE permtab_store SET schema_state = 'ready', schema_version = 3;
