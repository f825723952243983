-- Once, as a role that may create tables: PostgresStore::connect makes them, or a deployment step that calls it.
-- Then, once:
CREATE ROLE gatekey_app LOGIN PASSWORD 'a long random one';
GRANT USAGE ON SCHEMA public TO gatekey_app;
GRANT SELECT ON public.gatekey_version TO gatekey_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.gatekey_session, public.gatekey_throttle TO gatekey_app;
GRANT SELECT, INSERT, UPDATE ON public.gatekey_revoked_all TO gatekey_app;
GRANT SELECT, INSERT ON public.gatekey_user TO gatekey_app;
GRANT UPDATE (password_hash, roles, scope, disabled) ON public.gatekey_user TO gatekey_app;
