-- Customers.

CREATE FUNCTION svc_new_id(prefix text) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'svc_new_id';
COMMENT ON FUNCTION svc_new_id(text) IS
'A new id: prefix (1 to 63 characters a-z and _), an underscore and 128 time-ordered bits (TypeID, UUID version 7 of RFC 9562). Ids made by one session ascend in collation "C". Null gives null; another prefix raises 22023.';

CREATE FUNCTION svc_create_customer(properties jsonb) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'svc_create_customer';
COMMENT ON FUNCTION svc_create_customer(jsonb) IS
'Creates a customer from an object of properties, which are columns of svc_customer, and returns its id. name is required; the others have defaults: id is made by svc_new_id(''cus''), status is prospect (active is allowed, too). Raises 22004 for null, 23502 without a name, SV009 for an unknown property, SV010 for a value of the wrong JSON type, 23505 when the id exists.';
