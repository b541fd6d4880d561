# Users put triggers, policies, indexes, columns and rules on svc's tables while
# sessions consume, which have by then looked at the tables and prepared their
# statements: each applies to every row from the instant it is there.
#
# sql/direct_write has the same changes one after the other in one session; here
# eight others are amid their calls.  What must hold is exact, because a change of
# a table waits for the writers that are there, and keeps others out until it
# commits: what is in the ledger by then is *before* it.

use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $CLIENTS = 8;
my $dir = PostgreSQL::Test::Utils::tempdir;
my ($out, $err) = ('', '');

my $node = PostgreSQL::Test::Cluster->new('changing');
$node->init;
$node->append_conf('postgresql.conf', "log_statement = none\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION svc;
	SELECT svc_install();
	SELECT svc_create_customer(jsonb_build_object('id', 'c' || i, 'name', 'Ada', 'status', 'active')),
		   svc_grant_entitlement('c' || i, 'api_calls', 100000000, id => 'g')
	FROM generate_series(1, 4) i;
	CREATE TABLE call (customer_id text, consumed numeric, reason text, replayed boolean);
	CREATE TABLE seen (what text, customer_id text, seq bigint);
	CREATE TABLE mark (what text, customer_id text, seq bigint);
	GRANT ALL ON seen TO svc_owner;
	CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.seen VALUES (TG_NAME, NEW.customer_id, NEW.seq);
		RETURN NULL;
	END $$;
	CREATE FUNCTION describe() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		NEW.description := NEW.ledger_seq;
		RETURN NEW;
	END $$;
});

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Change a table, and note which rows of the ledger there are before.  (The lock
# comes first: it is what waits for writers, and the snapshot that reads the marks
# is of after it.)
sub change
{
	my ($what, $statements, $table) = @_;

	$table //= 'svc_entitlement_ledger';
	sql(qq{
		BEGIN;
		LOCK TABLE $table IN ACCESS EXCLUSIVE MODE;
		$statements;
		INSERT INTO mark SELECT '$what', customer_id, coalesce(max(seq), 0)
		FROM svc_entitlement_ledger GROUP BY customer_id;
		COMMIT;
	});
	wait_for_calls();
}

# Let every client make some calls.
sub wait_for_calls
{
	my $before = sql('SELECT count(*) FROM call');

	$node->poll_query_until('postgres', "SELECT count(*) > $before + 400 FROM call")
	  or die "the clients do not go on: $err";
}

# A condition for rows of the ledger that came between two changes.
sub between
{
	my ($first, $last) = @_;

	return "seq > (SELECT seq FROM mark m WHERE m.customer_id = l.customer_id AND what = '$first')"
	  . " AND seq <= (SELECT seq FROM mark m WHERE m.customer_id = l.customer_id AND what = '$last')";
}

# What a trigger or rule of that name has seen is what came in between.
sub check_seen
{
	my ($name) = @_;
	my $expected = "SELECT customer_id, seq FROM svc_entitlement_ledger l WHERE "
	  . between("$name on", "$name off");
	my $seen = "SELECT customer_id, seq FROM seen WHERE what = '$name'";

	cmp_ok(sql("SELECT count(*) FROM ($expected) x"), '>', 200, "$name: there are calls");
	is(sql("($expected EXCEPT $seen) UNION ALL ($seen EXCEPT $expected)"), '', "$name: it has seen each of them, and no other");
	is(sql("SELECT count(*) - count(DISTINCT (customer_id, seq)) FROM ($seen) x"), 0, "$name: once");
}

# ---- the clients ----
#
# Two and two have the same keys, so that they meet at them.

my $script = "$dir/consume.sql";
append_to_file($script, q{
\set n :n + 1
\set c :n % 4 + 1
\set pair :client_id / 2
INSERT INTO call
SELECT 'c' || :c, consumed, reason, replayed
FROM svc_consume_entitlement('c' || :c, 'api_calls', 1, 'key ' || :pair || ' ' || :n);
});
my $clients = IPC::Run::start(
	['pgbench', '--no-vacuum', '--protocol=prepared', "--client=$CLIENTS", '--jobs=2', '--time=600',
		'--define=n=0', "--file=$script", $node->connstr('postgres')],
	'<', \undef, '>', \$out, '2>', \$err);

wait_for_calls();

# ---- triggers, and a rule ----

change('see on', 'CREATE TRIGGER see AFTER INSERT ON svc_entitlement_ledger FOR EACH ROW EXECUTE FUNCTION see()');
change('see off', 'DROP TRIGGER see ON svc_entitlement_ledger');
check_seen('see');

change('rule on', "CREATE RULE rule AS ON INSERT TO svc_entitlement_ledger
	DO ALSO INSERT INTO public.seen VALUES ('rule', NEW.customer_id, NEW.seq)");
change('rule off', 'DROP RULE rule ON svc_entitlement_ledger');
check_seen('rule');

change('describe on', 'CREATE TRIGGER describe BEFORE UPDATE ON svc_entitlement FOR EACH ROW EXECUTE FUNCTION describe()',
	'svc_entitlement');
change('describe off', q{DROP TRIGGER describe ON svc_entitlement;
	CREATE TABLE described AS SELECT customer_id, description, ledger_seq FROM svc_entitlement}, 'svc_entitlement');
is(sql('SELECT count(*) FROM described WHERE description = ledger_seq::text'), 4, 'describe: each row is as the trigger has made it');
is(sql('SELECT count(*) FROM svc_entitlement e JOIN described d USING (customer_id) WHERE e.description = d.description'),
	4, 'describe: and it stays so afterwards');

# ---- columns ----

change('column on', "ALTER TABLE svc_entitlement_ledger ADD COLUMN note text DEFAULT 'first'");
change('column other', "ALTER TABLE svc_entitlement_ledger ALTER COLUMN note SET DEFAULT 'second'");
change('column end', 'ALTER TABLE svc_entitlement_ledger ALTER COLUMN note DROP DEFAULT');
is( sql('SELECT DISTINCT note FROM svc_entitlement_ledger l WHERE ' . between('column on', 'column other')),
	'first', 'a column with a default has it');
is( sql('SELECT DISTINCT note FROM svc_entitlement_ledger l WHERE ' . between('column other', 'column end')),
	'second', 'and the next default at once');
is( sql(q{SELECT count(*) FROM svc_entitlement_ledger l WHERE note IS NOT NULL AND seq >
		(SELECT seq FROM mark m WHERE m.customer_id = l.customer_id AND what = 'column end')}),
	0, 'and none at last');
change('column off', 'ALTER TABLE svc_entitlement_ledger DROP COLUMN note');

change('generated on', 'ALTER TABLE svc_entitlement ADD COLUMN twice numeric GENERATED ALWAYS AS (used_amount * 2) STORED',
	'svc_entitlement');
is(sql('SELECT count(*) FROM svc_entitlement WHERE twice <> used_amount * 2'), 0, 'a generated column follows');
change('generated off', 'ALTER TABLE svc_entitlement DROP COLUMN twice', 'svc_entitlement');

# ---- indexes ----

change('indexes on', 'CREATE INDEX by_amount ON svc_entitlement_ledger (amount, seq)');
sql('CREATE INDEX CONCURRENTLY by_actor ON svc_entitlement_ledger (actor, seq) WHERE line = 0');
sql('CREATE INDEX CONCURRENTLY by_use ON svc_entitlement (used_amount)');
wait_for_calls();

# ---- a policy ----

change('policy on', q{
	CREATE POLICY most ON svc_entitlement USING (customer_id <> 'c3');
	ALTER TABLE svc_entitlement ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY}, 'svc_entitlement');
change('policy off', q{
	ALTER TABLE svc_entitlement NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
	DROP POLICY most ON svc_entitlement}, 'svc_entitlement');
is( sql('SELECT customer_id, count(*) > 50 FROM svc_entitlement_ledger l WHERE ' . between('policy on', 'policy off')
		. ' GROUP BY customer_id ORDER BY customer_id'),
	"c1|t\nc2|t\nc3|t\nc4|t", 'a policy is for who reads the table; for svc the privilege on its functions counts');
is(sql("SELECT DISTINCT reason FROM call"), 'ok', 'nobody was ever told no');

# ---- the end ----

$clients->signal('TERM');
$clients->finish;
unlike($err, qr/error|aborted/i, 'no client meets an error');

is( sql(q{
		SELECT customer_id, used_amount, ledger_seq, used_amount, ledger_seq FROM svc_entitlement
		EXCEPT SELECT l.customer_id, sum(amount), max(seq), (SELECT sum(consumed) FROM call c WHERE c.customer_id = l.customer_id AND NOT replayed), count(*)
		FROM svc_entitlement_ledger l GROUP BY l.customer_id}),
	'', 'what was answered, the counters and the ledger agree');
is( sql(q{
		SET enable_seqscan = off; SET enable_bitmapscan = off;
		SELECT (SELECT count(*) FROM svc_entitlement_ledger WHERE amount > 0 AND seq > 0)
			 = (SELECT sum(ledger_seq) FROM svc_entitlement),
			   (SELECT count(*) FROM svc_entitlement_ledger WHERE actor > '' AND line = 0)
			 = (SELECT sum(ledger_seq) FROM svc_entitlement),
			   (SELECT count(*) FROM svc_entitlement WHERE used_amount > 0)}),
	't|t|4', 'and what the indexes find');
is(sql('SELECT * FROM svc_verify()'), '', 'svc_verify() finds nothing');

$node->stop;
done_testing();
