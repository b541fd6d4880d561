# Usage against a recount of it: random records, corrections, roll-ups, closings and
# purges, and every now and then all that can be asked.
#
# Promise: svc_get_usage() says what has been recorded, whatever is rolled up, final or
# purged, and however it was recorded.
#
# The recount is made of a copy of the records, which a trigger keeps and nobody purges,
# by the server's own calendar.  Where purges have been, questions begin and end on the
# hour.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{SVC_TEST_SEED} // int(rand(2**31));
note "seed: $seed; SVC_TEST_SEED=$seed repeats the choices";

use constant ROUNDS => 40;
use constant STEPS_PER_ROUND => 10;

my $node = PostgreSQL::Test::Cluster->new('usage_model');
$node->init;
$node->append_conf('postgresql.conf', q{
log_statement = none
fsync = off
timezone = UTC
});
$node->start;
my $session = $node->background_psql('postgres', on_error_stop => 1);
$session->query_safe($_) for (q{
	CREATE EXTENSION svc;
	SELECT svc_install();
	ALTER TABLE svc_customer ALTER COLUMN created_at SET DEFAULT '2020-01-01Z';
	INSERT INTO svc_customer (id, name, status, timezone) VALUES ('a', 'a', 'active', 'Europe/Berlin'),
		('b', 'b', 'active', 'America/St_Johns'), ('c', 'c', 'active', NULL), ('d', 'd', 'active', 'Australia/Lord_Howe');
	SELECT svc_set_meter('greatest', 'max'), svc_set_meter('last', 'last'), svc_set_meter('counted', 'count'),
		svc_set_meter('greatest in a column', 'max', usage_column => 'storage_gb');
	CREATE TABLE resource AS SELECT * FROM unnest('{greatest,last,counted,greatest in a column,added,api_calls}'::text[]) WITH ORDINALITY r (name, n);
	-- the copy
	CREATE TABLE copy (LIKE svc_usage);
	GRANT INSERT ON copy TO svc_owner;
	CREATE INDEX ON copy (customer_id, resource, booked_at);
	CREATE INDEX ON copy (customer_id, adjusts_id) WHERE adjusts_id IS NOT NULL;
	CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS 'BEGIN INSERT INTO copy SELECT (new).*; RETURN NULL; END';
	CREATE TRIGGER keep AFTER INSERT ON svc_usage FOR EACH ROW EXECUTE FUNCTION keep();
}, q{
	CREATE FUNCTION recount(customer text, what text, lower timestamptz, upper timestamptz) RETURNS numeric LANGUAGE sql AS $$
		SELECT CASE coalesce((SELECT aggregation FROM svc_meter WHERE resource = what), 'sum')
			WHEN 'sum' THEN coalesce(sum(quantity), 0)
			WHEN 'count' THEN coalesce(sum(CASE WHEN adjusts_id IS NOT NULL THEN quantity WHEN quantity < 0 THEN -1 ELSE 1 END), 0)
			WHEN 'max' THEN max(corrected) FILTER (WHERE adjusts_id IS NULL)
			ELSE (array_agg(corrected ORDER BY booked_at DESC, occurred_at DESC, id DESC) FILTER (WHERE adjusts_id IS NULL))[1] END
		FROM (SELECT u.*, quantity + coalesce((SELECT sum(quantity) FROM copy a
				WHERE a.customer_id = u.customer_id AND a.adjusts_id = u.id AND a.booked_at = u.booked_at), 0) AS corrected
			  FROM copy u WHERE customer_id = customer AND resource = what AND booked_at >= lower AND booked_at < upper) u
	$$;
	CREATE FUNCTION one_of(list text[]) RETURNS text LANGUAGE sql AS 'SELECT list[1 + floor(random() * cardinality(list))]';
	CREATE FUNCTION some_time(days int) RETURNS timestamptz LANGUAGE sql AS $$SELECT '2026-03-20Z'::timestamptz + random() * days * interval '1 day'$$;
	CREATE FUNCTION some_resource() RETURNS text LANGUAGE sql AS 'SELECT name FROM resource WHERE n = 1 + floor(random() * 6) LIMIT 1';
	CREATE FUNCTION some_customer() RETURNS text LANGUAGE sql AS 'SELECT one_of(''{a,b,c,d}'')';
}, q{
	-- one thing that somebody does; its name
	CREATE FUNCTION step() RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		what text := one_of('{record,record,record,insert,batch,adjust,adjust,dispute,settle,roll up,roll up,roll up all,finalize,purge,move,roll back,run due}');
		c text := some_customer();
		r text := one_of((SELECT array_agg(name) FROM resource));
		id text;
	BEGIN
		SELECT u.customer_id, u.id INTO c, id FROM svc_usage u
		WHERE what IN ('adjust', 'dispute', 'settle') AND u.status = CASE what WHEN 'settle' THEN 'disputed' ELSE u.status END ORDER BY random() LIMIT 1;
		c := coalesce(c, some_customer());
		CASE what
			WHEN 'record' THEN
				PERFORM svc_record_usage(c, r, floor(random() * 40 - 8)::numeric * 0.25, some_time(240));
			WHEN 'insert' THEN
				INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at)
				SELECT some_customer(), one_of((SELECT array_agg(name) FROM resource)), floor(random() * 100), some_time(240) FROM generate_series(1, 30);
			WHEN 'batch' THEN
				PERFORM svc_record_usage_batch((SELECT jsonb_agg(jsonb_build_object('customer_id', CASE n WHEN 7 THEN 'nobody' ELSE c END, 'resource', r,
					'quantity', n, 'at', some_time(240), 'idempotency_key', 'k' || floor(random() * 500))) FROM generate_series(1, 12) n));
			WHEN 'adjust' THEN
				IF id IS NOT NULL THEN PERFORM svc_adjust_usage(c, id, floor(random() * 10 - 5)::numeric, 'model'); END IF;
			WHEN 'dispute' THEN
				IF id IS NOT NULL THEN PERFORM svc_dispute_usage(c, id); END IF;
			WHEN 'settle' THEN
				IF id IS NOT NULL THEN PERFORM svc_adjust_usage(c, id); END IF;
			WHEN 'roll up' THEN PERFORM svc_aggregate_usage(c);
			WHEN 'roll up all' THEN PERFORM svc_aggregate_usage();
			WHEN 'run due' THEN PERFORM svc_run_due(max_rows => 1 + floor(random() * 5)::int);
			WHEN 'finalize' THEN PERFORM svc_finalize_usage(c, one_of('{hour,day,week,month,quarter}'), some_time((random() * 150)::int));
			WHEN 'purge' THEN PERFORM svc_purge_usage(some_time((random() * 200)::int));
			WHEN 'move' THEN
				UPDATE svc_customer SET timezone = nullif(one_of('{Europe/Berlin,Asia/Kathmandu,none,America/New_York,Australia/Lord_Howe}'), 'none') WHERE svc_customer.id = c;
			WHEN 'roll back' THEN
				INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at) SELECT c, r, n, some_time(240) FROM generate_series(1, 10) n;
				PERFORM svc_aggregate_usage(c);
				RAISE 'rolled back' USING ERRCODE = 'raise_exception';
		END CASE;
		RETURN what;
	EXCEPTION
		WHEN raise_exception OR SQLSTATE 'SV001' THEN
			RETURN what || ', refused';
	END $$;
}, q{
	-- what svc_get_usage() says otherwise than the recount, for questions of all kinds
	CREATE FUNCTION differences() RETURNS TABLE (question text, answer numeric, recounted numeric) LANGUAGE plpgsql AS $$
	DECLARE
		c text; r text; g text; zone text; purged timestamptz; lower timestamptz; upper timestamptz;
	BEGIN
		FOR c, zone, purged IN SELECT f.customer_id, f.timezone, f.purged_until FROM svc_usage_fold f LOOP
			FOR r, g IN SELECT name, k FROM resource, unnest('{hour,day,week,month,quarter,year,none}'::text[]) k LOOP
				lower := some_time(120);
				upper := lower + random() * CASE g WHEN 'hour' THEN 5 ELSE 130 END * interval '1 day';
				IF purged IS NOT NULL THEN
					lower := svc_period_start('hour', lower, zone);
					upper := svc_period_start('hour', upper, zone);
				END IF;
				IF g = 'none' AND random() < 0.5 THEN
					lower := NULL;
				END IF;
				RETURN QUERY SELECT format('%s of %s by %s from %s to %s', r, c, g, u.period_start, u.period_end), u.quantity,
					recount(c, r, coalesce(u.period_start, '-infinity'), u.period_end)
				FROM svc_get_usage(c, r, lower, upper, nullif(g, 'none')) u
				WHERE u.quantity IS DISTINCT FROM recount(c, r, coalesce(u.period_start, '-infinity'), u.period_end)
				   OR u.period_start NOT IN (lower, date_trunc(nullif(g, 'none'), u.period_start, zone)) AND (g, zone) <> ('hour', 'Australia/Lord_Howe');
			END LOOP;
		END LOOP;
	END $$;
});
$session->query_safe('SELECT setseed(' . ($seed % 1000 / 1000) . ')');

my %done;
for my $round (1 .. ROUNDS)
{
	my @steps = map { $session->query_safe('SELECT step()') } 1 .. STEPS_PER_ROUND;

	$done{$_}++ for @steps;
	my $wrong = $session->query_safe(q{SELECT question || ': ' || coalesce(answer::text, 'null') || ' instead of ' || coalesce(recounted::text, 'null') FROM differences() LIMIT 3})
	  . $session->query_safe('SELECT * FROM svc_verify() LIMIT 3');
	next if $wrong eq '';
	fail("round $round: " . join(', ', @steps));
	diag $wrong;
	last;
}
is($session->query_safe('SELECT count(*) > 500 FROM copy'), 't', 'there was much to be asked');
is($session->query_safe('SELECT count(*) > 0 FROM copy c WHERE NOT EXISTS (SELECT FROM svc_usage u WHERE u.customer_id = c.customer_id AND u.id = c.id)'), 't', 'some of it was purged');
is(join(', ', grep { !$done{$_} } 'record', 'insert', 'batch', 'adjust', 'dispute', 'settle', 'roll up', 'roll up all', 'run due', 'finalize', 'purge', 'move', 'roll back, refused'), '', 'everything was done');
note join ', ', map { "$_: $done{$_}" } sort keys %done;
$session->quit;
$node->stop;
diag "SVC_TEST_SEED=$seed" unless Test::More->builder->is_passing;
done_testing();
