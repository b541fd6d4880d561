# Segments in real time, while eight clients change all that they depend on: at the
# end each has just the members that asking every customer anew gives.
#
# An isolation spec has only the interleavings that somebody thought of.  Here the
# clients change customers, subscriptions and entitlements, one and many at a time, put
# customers in and take them out, redefine segments, sync them, merge customers, and
# let time pass, with aborts and savepoints, at READ COMMITTED and REPEATABLE READ.
# While that goes on, nobody may see a segment with another customer_count than it has
# members, or a member of a child that is not in the parent.

use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $SECONDS = 20;
my $CLIENTS = 8;
my $CUSTOMERS = 40;
my $MANY = 1200;      # more than are asked one by one
my $dir = PostgreSQL::Test::Utils::tempdir;

my $seed = $ENV{SVC_TEST_SEED} // int(rand(2**31));
note "seed: $seed; SVC_TEST_SEED=$seed repeats the clients' choices";

my $node = PostgreSQL::Test::Cluster->new('segments');
$node->init;
$node->append_conf('postgresql.conf', q{
log_statement = none
log_min_error_statement = panic
log_error_verbosity = terse
fsync = off
deadlock_timeout = 20ms
});
$node->start;
$node->safe_psql('postgres', qq{
	CREATE EXTENSION svc;
	SELECT svc_install();
	SELECT svc_create_customer(jsonb_build_object('id', 'c' || i, 'name', 'n', 'status', 'active', 'monthly_spend', i,
		'attributes', jsonb_build_object('k', i % 3)))
	FROM generate_series(1, $CUSTOMERS) i;
	INSERT INTO svc_customer (id, name, industry) SELECT 'm' || i, 'n', 'mining' FROM generate_series(1, $MANY) i;
	SELECT svc_create_plan('{"id": "pro", "name": "Pro", "price": 1}'), svc_create_plan('{"id": "team", "name": "Team", "price": 2}');
	SELECT svc_grant_entitlement('c' || i, 'calls', 5, id => 'e'),
		   svc_create_subscription('c' || i, 'pro', properties => '{"id": "s"}')
	FROM generate_series(1, $CUSTOMERS) i;

	SELECT svc_create_segment(jsonb_build_object('id', id, 'name', id, 'criteria', criteria::jsonb, 'parent_segment_id', parent, 'sync_frequency', frequency))
	FROM (VALUES
		('a', '{"status": "active", "monthly_spend": {"\$gte": 20}}', NULL, 'realtime'),
		('b', '{"attributes.k": {"\$in": [1, 2]}}', NULL, 'realtime'),
		('c', '{"subscriptions": {"\$elemMatch": {"status": "paused"}}, "attributes.k": {"\$ne": 0}}', NULL, 'realtime'),
		('d', '{"entitlements.calls.remaining": {"\$lte": 0}}', NULL, 'realtime'),
		('e', '{"\$inSegment": ["a", "b"], "\$notInSegment": "c"}', NULL, 'realtime'),
		('f', '{"monthly_spend": {"\$mod": [2, 0]}}', 'a', 'realtime'),
		('g', '{"industry": "mining"}', NULL, 'realtime'),
		('h', '{"attributes.k": 1}', 'g', 'realtime'),
		('p', '{"name": {"\$ne": "x"}}', 'b', 'daily'),
		('q', NULL, 'a', NULL)) s (id, criteria, parent, frequency);

	CREATE VIEW expected AS
	SELECT s.id AS segment_id, c.id AS customer_id
	FROM svc_customer_segment s CROSS JOIN svc_customer c
	LEFT JOIN svc_segment_override o ON o.segment_id = s.id AND o.customer_id = c.id
	WHERE s.automated AND s.sync_frequency = 'realtime' AND c.status NOT IN ('merged', 'deleted')
	  AND coalesce(o.included, svc_customer_document(c.id) @~ s.criteria::svc_criteria)
	  AND (s.parent_segment_id IS NULL OR EXISTS (SELECT FROM svc_segment_member p
		   WHERE p.segment_id = s.parent_segment_id AND p.customer_id = c.id));

	-- what nobody may see
	CREATE TABLE seen (what text);
	CREATE FUNCTION look() RETURNS void LANGUAGE sql AS \$\$
		INSERT INTO seen
		SELECT format('%s has %s, says %s', id, members, customer_count) FROM (
			SELECT s.id, s.customer_count, (SELECT count(*) FROM svc_segment_member m WHERE m.segment_id = s.id) AS members
			FROM svc_customer_segment s) x WHERE members <> customer_count
		UNION ALL
		SELECT format('%s in %s, but not in its parent', m.customer_id, m.segment_id)
		FROM svc_customer_segment s JOIN svc_segment_member m ON m.segment_id = s.id
		WHERE s.parent_segment_id IS NOT NULL AND NOT EXISTS (SELECT FROM svc_segment_member p
			WHERE p.segment_id = s.parent_segment_id AND p.customer_id = m.customer_id)
	\$\$;
	-- a call that may come too late: for a subscription that is paused, a customer that is merged
	CREATE FUNCTION attempt(call text) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		EXECUTE call;
	EXCEPTION WHEN SQLSTATE 'SV001' OR SQLSTATE 'SV008' OR SQLSTATE 'SV023' THEN
	END \$\$;
});

sub sql { return $node->safe_psql('postgres', $_[0]); }

# ---- what clients do ----

my %scripts = (
	spend => [ 20, q{SELECT attempt('SELECT svc_update_customer(''c:c'', ''{"monthly_spend": :n}'')');} ],
	attribute => [ 20, q{SELECT attempt('SELECT svc_update_customer(''c:c'', ''{"attributes": {"k": :k, "n": :n}}'')');} ],
	status => [ 8, q{UPDATE svc_customer SET status = CASE status WHEN 'active' THEN 'suspended' ELSE 'active' END
		WHERE id = 'c:c' AND status IN ('active', 'suspended');} ],
	pause => [ 8, q{SELECT attempt('SELECT svc_pause_subscription(''c:c'', ''s'')');} ],
	resume => [ 8, q{SELECT attempt('SELECT svc_resume_subscription(''c:c'', ''s'')');} ],
	consume => [ 15, q{SELECT allowed FROM svc_consume_entitlement('c:c', 'calls', 3, mode => 'cap');} ],
	raise => [ 8, q{SELECT attempt('SELECT svc_update_entitlement(''c:c'', ''e'', ''{"limit_amount": :n}'')');} ],
	several => [ 8, q{BEGIN;
		SELECT attempt('SELECT svc_update_customer(''c:c'', ''{"monthly_spend": :n}'')');
		SAVEPOINT s;
		SELECT attempt('SELECT svc_update_customer(''c:d'', ''{"attributes": {"k": :k}}'')');
		SET CONSTRAINTS ALL IMMEDIATE;
		ROLLBACK TO s;
		SELECT attempt('SELECT svc_update_customer(''c:d'', ''{"attributes": {"k": 1}}'')');
		END;} ],
	old_snapshot => [ 8, q{BEGIN ISOLATION LEVEL REPEATABLE READ;
		SELECT count(*) FROM svc_segment_member;
		UPDATE svc_customer SET monthly_spend = :n WHERE id = 'c:c' AND status <> 'merged';
		END;} ],
	abort => [ 3, q{BEGIN;
		UPDATE svc_customer SET monthly_spend = :n WHERE id = 'c:c' AND status <> 'merged';
		SET CONSTRAINTS ALL IMMEDIATE;
		ROLLBACK;} ],
	add => [ 5, q{SELECT attempt('SELECT svc_add_segment_customer(''' || (ARRAY['a','b','f','q','e'])[1 + :n % 5] || ''', ''c:c'')');} ],
	remove => [ 5, q{SELECT attempt('SELECT svc_remove_segment_customer(''' || (ARRAY['a','b','f','q','e'])[1 + :n % 5] || ''', ''c:c'')');} ],
	clear => [ 10, q{SELECT attempt('SELECT svc_clear_segment_override(''' || (ARRAY['a','b','f','q','e'])[1 + :n % 5] || ''', ''c:c'')');} ],
	sync => [ 4, q{SELECT svc_sync_segment((ARRAY['a','b','c','d','e','f','g','h','p','q'])[1 + :n % 10]);} ],
	redefine => [ 3, q{SELECT svc_update_segment('a', '{"criteria": {"status": "active", "monthly_spend": {"$gte": :n}}}');} ],
	many => [ 1, qq{UPDATE svc_customer SET industry = CASE industry WHEN 'mining' THEN 'IT' ELSE 'mining' END,
		attributes = '{"k": 1}' WHERE id IN (SELECT id FROM svc_customer WHERE id LIKE 'm%' ORDER BY id FOR UPDATE);} ],
	some => [ 2, q{UPDATE svc_customer SET industry = CASE industry WHEN 'mining' THEN 'IT' ELSE 'mining' END
		WHERE id IN (SELECT id FROM svc_customer WHERE id LIKE 'm:d%' ORDER BY id FOR UPDATE);} ],
	merge => [ 1, q{SELECT attempt('SELECT svc_merge_customer(''c:c'', ''c:d'')') WHERE :c <> :d AND :c > 20;} ],
	due => [ 4, q{SELECT svc_run_due(now() + interval '2 days', 100);} ],
	look => [ 15, q{SELECT look();} ],
);

my @files;
for my $name (sort keys %scripts)
{
	my ($weight, $script) = @{ $scripts{$name} };
	my $file = "$dir/$name.sql";

	append_to_file($file, "\\set c random(1, $CUSTOMERS)\n\\set d random(1, $CUSTOMERS)\n\\set n random(0, 40)\n\\set k random(0, 2)\n"
		. join("\n", map { s/\n\s*/ /gr } split(/;\n/, $script =~ s/;\s*$//r . ";\n"), '')
		=~ s/(?<!;)\n/;\n/gr =~ s/^;\n//gmr);
	push @files, '-f', "$file\@$weight";
}
my ($out, $err);
IPC::Run::run([ 'pgbench', '-n', '-c', $CLIENTS, '-j', 2, '-T', $SECONDS, '--max-tries=100', "--random-seed=$seed",
		'-h', $node->host, '-p', $node->port, @files, 'postgres' ], '>', \$out, '2>', \$err);
is($?, 0, 'all clients came to their end') or diag $err;
my ($done) = $out =~ /number of transactions actually processed: (\d+)/;
cmp_ok($done // 0, '>', 500, 'and have done something');
note "$done transactions";
note $_ for grep { /retried|failed/ } split /\n/, $out;

# ---- afterwards ----

is(sql('SELECT * FROM seen LIMIT 5'), '', 'nobody has seen a wrong count, or a member of a child outside its parent');
is(sql('INSERT INTO seen SELECT FROM look() WHERE false; SELECT look(); SELECT * FROM seen LIMIT 5') =~ s/^\n*//r, '', 'nor is there one now');
# what makes no event: counters, in d
sql("SELECT svc_sync_segment('d')");
is(sql(q{SELECT 'missing', segment_id, customer_id FROM (TABLE expected EXCEPT SELECT segment_id, customer_id FROM svc_segment_member) x
	UNION ALL SELECT 'wrong', segment_id, customer_id FROM (SELECT m.segment_id, m.customer_id FROM svc_segment_member m
		JOIN svc_customer_segment s ON s.id = m.segment_id AND s.sync_frequency = 'realtime' EXCEPT TABLE expected) y LIMIT 10}),
	'', 'members are those that asking everybody anew gives');
cmp_ok(sql('SELECT count(DISTINCT segment_id) FROM svc_segment_member'), '>', 5, 'and there are some');
is(sql(q{SELECT s.id FROM svc_customer_segment s WHERE revision <> (SELECT count(*) FROM svc_event e
	WHERE e.noun = 'customer_segment' AND e.entity_id = s.id)}), '', 'each change has its event');
# members that have come and gone one by one are those of the events
is(sql(q{SELECT 'c' || i, s.id FROM generate_series(1, 40) i, svc_customer_segment s
	WHERE s.id IN ('a', 'b', 'c', 'f', 'q') AND EXISTS (SELECT FROM svc_segment_member m WHERE m.segment_id = s.id AND m.customer_id = 'c' || i) <>
	(SELECT count(*) FILTER (WHERE action = 'addCustomer') - count(*) FILTER (WHERE action = 'removeCustomer')
	 FROM svc_event e WHERE e.noun = 'customer_segment' AND e.entity_id = s.id
	 AND coalesce(changes #>> '{customer_id,new}', changes #>> '{customer_id,old}') = 'c' || i)::int::boolean LIMIT 5}),
	'', 'as the events tell');
$node->stop;
done_testing();
