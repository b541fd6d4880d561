# Customers are merged while they consume: nothing is lost, nothing doubled.
#
# One psql has one connection, and an isolation spec only the interleavings
# that somebody thought of.  Here 8 clients consume, with idempotency keys that
# they share and without, create orders, place customers in a segment and merge
# customers at random, until hardly any is left.
#
# Each call is entered into a table of the application's own, in the same
# transaction, so that what callers were told can be added up as well.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{SVC_TEST_SEED} // int(rand(2**31));
note "seed: $seed; SVC_TEST_SEED=$seed repeats the clients' choices";

my $node = PostgreSQL::Test::Cluster->new('merge_load');
$node->init;
$node->append_conf('postgresql.conf', "log_statement = none\nfsync = off\n");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Every customer has a grant of the same id, so that all merges have something
# to rename; merge_two() takes no for an answer, but no other error.
sql(q{
	CREATE EXTENSION svc;
	SELECT svc_install();
	CREATE TABLE call (consumed numeric, replayed boolean);
	CREATE TABLE merging (done boolean);
	CREATE TABLE ordering (id text);
	SELECT svc_create_segment('{"id": "s", "name": "S"}');
	SELECT svc_create_customer(jsonb_build_object('id', 'c' || n, 'name', 'n', 'status', 'active')),
		   svc_grant_entitlement('c' || n, 'calls', 1000, id => 'e')
	FROM generate_series(1, 120) n;
	CREATE FUNCTION merge_two(a text, b text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM svc_merge_customer(a, b);
		RETURN true;
	EXCEPTION WHEN SQLSTATE 'SV001' OR invalid_parameter_value THEN
		RETURN false;
	END $$;
	CREATE FUNCTION order_for(c text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		RETURN svc_create_order(c, '{"total": 1}');
	EXCEPTION WHEN SQLSTATE 'SV001' THEN
		RETURN NULL;
	END $$;
	CREATE FUNCTION join_segment(c text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		RETURN svc_add_segment_customer('s', c);
	EXCEPTION WHEN SQLSTATE 'SV001' THEN
		RETURN NULL;
	END $$;
});

$node->pgbench(
	"--no-vacuum --client=8 --jobs=2 --transactions=400 --random-seed=$seed",
	0,
	[ qr{processed: 3200/3200}, qr{failed transactions: 0 \(} ],
	[qr{^pgbench: setting random seed to $seed$}],
	'no client meets an error, nor a deadlock',
	{
		'050_merge_load' => q{
			\set c random(1, 120)
			\set d random(1, 120)
			\set how random(1, 20)
			\set amount random(1, 3)
			\set key random(1, 40)
			\if :how <= 2
				INSERT INTO merging SELECT merge_two('c' || :c, 'c' || :d);
			\elif :how <= 4
				INSERT INTO ordering SELECT order_for('c' || :c);
			\elif :how <= 6
				SELECT join_segment('c' || :c);
			\elif :how <= 12
				INSERT INTO call SELECT consumed, replayed
				FROM svc_consume_entitlement('c' || :c, 'calls', :key % 3 + 1, 'key ' || :key);
			\else
				INSERT INTO call SELECT consumed, replayed
				FROM svc_consume_entitlement('c' || :c, 'calls', :amount);
			\endif
		}
	});

cmp_ok(sql('SELECT count(*) FROM merging WHERE done'), '>', 40, 'many were merged');
is( sql('SELECT sum(consumed) FROM call WHERE NOT replayed'),
	sql('SELECT sum(amount) FROM svc_entitlement_ledger'),
	'what callers were told is what the ledgers say');
is( sql('SELECT sum(used_amount), count(*), sum(limit_amount) FROM svc_entitlement'),
	sql('SELECT sum(amount), 120, 120000 FROM svc_entitlement_ledger'),
	'and what the grants say, of which none is lost');
is( sql(q{
		SELECT e.customer_id, e.id FROM svc_entitlement e
		LEFT JOIN svc_entitlement_ledger l ON (l.customer_id, l.entitlement_id) = (e.customer_id, e.id)
		GROUP BY e.customer_id, e.id
		HAVING e.used_amount <> coalesce(sum(l.amount), 0) OR e.ledger_seq <> count(l) OR e.ledger_seq <> coalesce(max(l.seq), 0)}),
	'', "each grant's counters are those of its ledger");
is( sql(q{
		SELECT DISTINCT c.id FROM svc_customer c JOIN (
			SELECT customer_id FROM svc_entitlement UNION ALL SELECT customer_id FROM svc_entitlement_ledger
			UNION ALL SELECT customer_id FROM svc_order UNION ALL SELECT customer_id FROM svc_segment_member) r
		ON r.customer_id = c.id WHERE c.status = 'merged'}),
	'', 'nothing is left with those who were merged');
is( sql('SELECT count(*) FROM svc_order'),
	sql('SELECT count(id) FROM ordering'),
	'all orders are there');
is( sql('SELECT customer_count FROM svc_customer_segment'),
	sql('SELECT count(*) FROM svc_segment_member'),
	'the segment knows how many it has');
is( sql(q{
		SELECT c.id FROM svc_customer c LEFT JOIN svc_event e ON e.noun = 'customer' AND e.entity_id = c.id
		GROUP BY c.id HAVING c.revision <> max(e.revision) OR c.revision <> count(*)}),
	'', 'revisions are without holes');
is( sql(q{
		WITH RECURSIVE way AS (
			SELECT id, merged_into, 1 AS steps FROM svc_customer WHERE status = 'merged'
			UNION ALL
			SELECT w.id, c.merged_into, steps + 1 FROM way w JOIN svc_customer c ON c.id = w.merged_into
			WHERE c.status = 'merged' AND steps < 200)
		SELECT count(*) FROM way WHERE steps >= 200}),
	0, 'every way of merges has an end');

$node->stop;
done_testing();
