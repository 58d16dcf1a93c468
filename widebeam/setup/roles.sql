-- part: source
-- In the source database, as a superuser (or as the tables' owner with CREATEROLE). Running it again changes nothing.
-- Give the role its password by \password in psql, or let it log in by certificate.
--
-- REPLICATION lets a role read the whole write-ahead log: let pg_hba.conf admit {source} to this database only, over
-- hostssl, from Widebeam's hosts, and never to the keyword `replication`, which is for base backups.
-- (Amazon RDS and Aurora have a role in the place of the attribute.)
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication') THEN
        CREATE ROLE {source} LOGIN NOCREATEDB NOCREATEROLE;
        GRANT rds_replication TO {source};
    ELSE
        CREATE ROLE {source} LOGIN REPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
    END IF;
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN
    CREATE ROLE {operator} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
ALTER ROLE {source} SET search_path = pg_catalog;
ALTER ROLE {operator} SET search_path = pg_catalog;
DO $$ BEGIN
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO {source}, {operator}', current_database());
END $$;
-- Reading, and nothing else. A dictionary's tables need the same.
{reading}
-- The publication is the table owner's. Without a usable replica identity it would make the application's own UPDATE
-- and DELETE fail, so it is not made then: `widebeam check` says what is missing.
{publishing}

-- part: target
-- In the target database, as a superuser (or as its owner with CREATEROLE). Running it again changes nothing.
DO $$ BEGIN
    CREATE ROLE {target} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN
    CREATE ROLE {operator} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN
    CREATE ROLE {reader} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
ALTER ROLE {target} SET search_path = pg_catalog;
ALTER ROLE {operator} SET search_path = pg_catalog;
DO $$ BEGIN
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO {target}, {operator}, {reader}', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO {target}', current_database());
END $$;
-- The writer owns both schemas, and can make nothing outside of them. (Who is no superuser gives them away as a member.)
DO $$ BEGIN
    IF NOT pg_has_role(current_user, '{target_name}', 'USAGE') THEN
        EXECUTE format('GRANT {target} TO %I', current_user);
    END IF;
END $$;
CREATE SCHEMA IF NOT EXISTS widebeam AUTHORIZATION {target};
CREATE SCHEMA IF NOT EXISTS {wide} AUTHORIZATION {target};
ALTER SCHEMA widebeam OWNER TO {target};
ALTER SCHEMA {wide} OWNER TO {target};
REVOKE ALL ON SCHEMA widebeam, {wide} FROM PUBLIC;
-- The operator looks: `widebeam status`, `widebeam verify`, `widebeam quarantine list`.
GRANT USAGE ON SCHEMA widebeam, {wide} TO {operator};
GRANT SELECT ON ALL TABLES IN SCHEMA widebeam, {wide} TO {operator};
ALTER DEFAULT PRIVILEGES FOR ROLE {target} IN SCHEMA widebeam GRANT SELECT ON TABLES TO {operator};
ALTER DEFAULT PRIVILEGES FOR ROLE {target} IN SCHEMA {wide} GRANT SELECT ON TABLES TO {operator};
-- The reader has the wide views, and neither their part tables nor Widebeam's state. A view reads its part tables as
-- its owner (no security_invoker), so they stay closed. Views that are made later are opened to it by
-- [target] readers = ["{reader_name}"] in the connector's file.
GRANT USAGE ON SCHEMA {wide} TO {reader};
DO $$ DECLARE shown regclass; BEGIN
    FOR shown IN SELECT oid FROM pg_class WHERE relkind = 'v' AND relnamespace = {wide_text}::regnamespace LOOP
        EXECUTE format('GRANT SELECT ON %s TO {reader}', shown);
    END LOOP;
END $$;
