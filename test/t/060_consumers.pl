# Consumers of the event log get each event that committed, in order, whatever
# commits late, and whoever is killed meanwhile.
#
# psql cannot show this: it takes transactions that overlap in all ways, a
# server that goes down, and consumers that die in the middle of a transaction.
# 8 clients change statuses of customers and grants, with rollbacks, with
# savepoints, and with transactions that stay open for 2 seconds; one is
# prepared, and outlives a crash.  What has committed is known from a table
# that a trigger of the test's own writes.
#
# One more reader does what must not be done: it remembers the greatest id that
# it has seen.  That it misses events proves that this test would notice.

use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $seed = $ENV{SVC_TEST_SEED} // int(rand(2**31));
note "seed: $seed; SVC_TEST_SEED=$seed repeats the clients' choices";
srand($seed);

my $dir = PostgreSQL::Test::Utils::tempdir;
my $node = PostgreSQL::Test::Cluster->new('consumers');
$node->init;
$node->append_conf('postgresql.conf', q{
max_prepared_transactions = 5
log_statement = none
fsync = off
deadlock_timeout = 20ms
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION svc;
	SELECT svc_install();

	-- what has really happened, and what the consumers are told of it
	CREATE TABLE witness (
		noun text, entity_id text, customer_id text, revision bigint, is_wanted_type boolean);
	CREATE TABLE received (
		seq bigserial, consumer text, id bigint, noun text, entity_id text, customer_id text, revision bigint);
	CREATE TABLE load (is_writing boolean);
	INSERT INTO load VALUES (true);

	-- runs as the owner of svc's tables otherwise, in a call of svc's functions
	CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql
	SECURITY DEFINER SET search_path = public AS $$
	DECLARE
		before jsonb := '{"revision": 0}';
		after jsonb := to_jsonb(NEW);
	BEGIN
		IF TG_OP = 'UPDATE' THEN
			before := to_jsonb(OLD);
		END IF;
		INSERT INTO witness
		SELECT TG_ARGV[0], NEW.id, coalesce(after->>'customer_id', NEW.id), r,
			   r = NEW.revision AND before->>'status' IS NOT DISTINCT FROM 'active' AND
			   (TG_ARGV[0], after->>'status') IN (('customer', 'suspended'), ('entitlement', 'exhausted'))
		FROM generate_series((before->>'revision')::bigint + 1, NEW.revision) r;
		RETURN NULL;
	END $$;
	CREATE TRIGGER witness AFTER INSERT OR UPDATE ON svc_customer
		FOR EACH ROW EXECUTE FUNCTION witness('customer');
	CREATE TRIGGER witness AFTER INSERT OR UPDATE ON svc_entitlement
		FOR EACH ROW EXECUTE FUNCTION witness('entitlement');

	SELECT svc_create_customer(jsonb_build_object('id', c, 'name', 'Ada', 'status', 'active')),
		   svc_grant_entitlement(c, 'calls', 2, id => 'e ' || c)
	FROM (SELECT 'c' || n FROM generate_series(1, 12) n
		  UNION ALL SELECT 'slow' || n FROM generate_series(0, 7) n
		  UNION ALL VALUES ('prepared'), ('late'), ('own')) a (c);

	SELECT svc_create_consumer('all', 'beginning'),
		   svc_create_consumer('types', 'beginning', ARRAY['svc.customer.suspended', 'svc.entitlement.exhausted']),
		   svc_create_consumer('customer', 'beginning', customer_id => 'c1'),
		   svc_create_consumer('twice', 'beginning');
});

sub sql { return $node->safe_psql('postgres', $_[0]); }

# ---- who writes ----

sub toggle_customer
{
	return "UPDATE svc_customer SET status = CASE status WHEN 'active' THEN 'suspended' ELSE 'active' END"
	  . " WHERE id = $_[0];\n";
}

sub toggle_grant
{
	return "UPDATE svc_entitlement SET status = CASE WHEN status <> 'suspended' THEN 'suspended'"
	  . " WHEN used_amount < limit_amount THEN 'active' ELSE 'exhausted' END WHERE customer_id = $_[0];\n";
}

sub use_grant
{
	return "UPDATE svc_entitlement SET limit_amount = used_amount + 2"
	  . " WHERE customer_id = $_[0] AND status = 'exhausted';\n"
	  . "SELECT allowed FROM svc_consume_entitlement($_[0], 'calls');\n";
}

my ($one, $two, $slow) = ("'c' || :c", "'c' || :d", "'slow' || :client_id");

append_to_file("$dir/writer.sql", join '', (
	"\\set c random(1, 12)\n\\set d random(:c, 12)\n\\set how random(1, 100)\n",
	"\\if :how <= 2\n",
	"BEGIN;\n", toggle_customer($slow), toggle_grant($slow), "SELECT pg_sleep(2);\nCOMMIT;\n",
	"\\elif :how <= 15\n",
	"BEGIN;\n", toggle_customer($one), use_grant($two), "ROLLBACK;\n",
	"\\elif :how <= 30\n",
	"BEGIN;\nSAVEPOINT a;\n", toggle_customer($one), toggle_grant($one), "ROLLBACK TO a;\n",
	toggle_customer($one), "SAVEPOINT b;\n", use_grant($one), "RELEASE b;\nCOMMIT;\n",
	"\\elif :how <= 45\n",
	"BEGIN;\n", toggle_grant($two), "SAVEPOINT a;\n", toggle_customer($two), "ROLLBACK TO a;\nCOMMIT;\n",
	"\\elif :how <= 60\n",
	"BEGIN;\n", toggle_customer($one), "SELECT pg_sleep(0.05);\n", toggle_customer($two), "COMMIT;\n",
	"\\elif :how <= 80\n", use_grant($one),
	"\\elif :how <= 90\n", toggle_grant($one),
	"\\else\n", toggle_customer($one),
	"\\endif\n"));

sub start_writers
{
	my ($round, $seconds) = @_;

	return IPC::Run::start(
		[ 'pgbench', '--no-vacuum', '--client=8', '--jobs=2', '--rate=200', '--max-tries=1000',
		  "--time=$seconds", "--random-seed=$seed", "--file=$dir/writer.sql", $node->connstr('postgres') ],
		'<', \undef, '>', "$dir/writers.$round.out", '2>', "$dir/writers.$round.err");
}

# ---- who reads ----
#
# Each round takes a moment before its end, and there it is most often killed.

my $COLUMNS = 'consumer, id, noun, entity_id, customer_id, revision';

sub poll_of
{
	my ($consumer, $lease) = @_;

	return "WITH batch AS (INSERT INTO received ($COLUMNS) SELECT '$consumer', id, noun, entity_id,"
	  . " customer_id, revision FROM svc_poll_events('$consumer', (1 + random() * 20)::int, '$lease') RETURNING id)\n"
	  . "SELECT max(id) AS upto, count(*) > 0 AS got FROM batch \\gset\n";
}

sub ack_of { return "\\if :got\nSELECT svc_ack_events('$_[0]', :upto);\n\\endif\n"; }

my $moment = "SELECT pg_sleep(random() * 0.02);\n";

# Some rounds make events themselves, which must come at a later poll, though
# the transaction has begun before others that are over by then.
my $own = toggle_customer("'own' AND random() < 0.3 AND (SELECT is_writing FROM load)");

my %round = (
	(map { $_ => "BEGIN;\n" . poll_of($_, '1 second') . ack_of($_) . $moment . "COMMIT;\n" } qw(types customer)),
	all => "BEGIN;\nSELECT pg_current_xact_id();\n" . $moment . poll_of('all', '1 second') . $own . ack_of('all') . $moment . "COMMIT;\n",
	twice => poll_of('twice', '100 ms') . $moment . ack_of('twice'),
	naive => "INSERT INTO received ($COLUMNS) SELECT 'naive', id, noun, entity_id, customer_id, revision"
	  . " FROM svc_event WHERE id > (SELECT coalesce(max(id), 0) FROM received WHERE consumer = 'naive')"
	  . " ORDER BY id;\n" . $moment);

# Two processes are the consumer "all", in turns.
my %reader = map { $_ => undef } ('all 1', 'all 2', qw(types customer twice naive));
my %kills = map { $_ => 0 } keys %reader;
my $process = 0;

append_to_file("$dir/$_.sql", $round{$_} x 5000) for keys %round;

sub start_reader
{
	my ($reader) = @_;
	my ($kind) = split / /, $reader;

	$process++;
	$reader{$reader} = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', "$dir/$kind.sql" ],
		'<', \undef, '>', '/dev/null', '2>', "$dir/reader.$process.err");
}

# Its backend notices at the end of the statement.
sub kill_reader
{
	my ($reader) = @_;

	$reader{$reader}->signal('KILL');
	$reader{$reader}->finish;
}

# For a while, kill one reader after the other.
sub kill_readers
{
	my ($seconds) = @_;
	my $end = time + $seconds;
	my @mortal = grep { $_ ne 'naive' } sort keys %reader;

	while (time < $end)
	{
		my $reader = $mortal[ rand @mortal ];

		usleep(rand(150_000));
		kill_reader($reader);
		$kills{$reader}++;
		start_reader($reader);
	}
}

# ---- a load, with a crash in the middle ----

start_reader($_) for sort keys %reader;

# This transaction has its ids before the others, and commits when all readers
# are beyond them.
my $late = $node->background_psql('postgres');

$late->query_safe('BEGIN');
$late->query_safe(toggle_customer("'late'"));

my $writers = start_writers(1, 600);

kill_readers(2);
sql('BEGIN; ' . toggle_customer("'prepared'") . toggle_grant("'prepared'") . "PREPARE TRANSACTION 'p'");
kill_readers(3);
is(sql("SELECT count(*) FROM received WHERE customer_id = 'late' AND revision > 1 AND noun = 'customer'"),
	0, 'what is not committed is not received');
$late->query_safe('COMMIT');
$late->quit;
kill_readers(2);

$node->stop('immediate');
$writers->finish;
isnt($writers->result(0), 0, 'the writers have lost their server');
$_->finish for values %reader;
is(scalar(grep { $_->result(0) == 0 } values %reader), 0, 'and so have the readers');
$node->start;

start_reader($_) for sort keys %reader;
$writers = start_writers(2, 7);
kill_readers(5);
is( sql(q{SELECT count(*) FROM received WHERE customer_id = 'prepared' AND revision > 1}),
	0, 'what is prepared is not received, though it has survived a crash');
sql("COMMIT PREPARED 'p'");
kill_readers(2);
$writers->finish;
is($writers->result(0), 0, 'the writers come to their end') or diag slurp_file("$dir/writers.2.err");
sql('UPDATE load SET is_writing = false');

# ---- everything that is left ----

my %wanted = (
	all => 'true',
	types => 'is_wanted_type',
	customer => "customer_id = 'c1'",
	twice => 'true');
my $is_missing = join ' OR ', map {
	"EXISTS (SELECT noun, entity_id, revision FROM witness WHERE $wanted{$_}"
	  . " EXCEPT SELECT noun, entity_id, revision FROM received WHERE consumer = '$_')"
} sort keys %wanted;

for (1 .. 100)
{
	last if sql("SELECT $is_missing") eq 'f';
	usleep(200_000);
}
usleep(300_000);    # time to receive too much
kill_reader($_) for keys %reader;

note 'processes killed: ' . join ', ', map { "$_: $kills{$_}" } sort keys %kills;
note 'witness: ' . sql('SELECT count(*) FROM witness');
is(join('', map { slurp_file($_) } glob "$dir/writers.*.err") =~ /ERROR:.*/ ? $& : '', '', 'no writer has met an error');
is(join('', map { slurp_file($_) } glob "$dir/reader.*.err") =~ /ERROR:.*/ ? $& : '', '', 'no reader has met an error');
cmp_ok(sql('SELECT count(*) FROM witness'), '>', 500, 'there was a load');
is(sql('SELECT min(n) > 5 FROM (SELECT count(*) AS n FROM witness GROUP BY customer_id, is_wanted_type'
		. " HAVING customer_id IN ('c1', 'own')) w"), 't', 'of everything that a reader wants');

# ---- the log ----

my $LOG = 'SELECT noun, entity_id, revision FROM svc_event';
my $WITNESS = 'SELECT noun, entity_id, revision FROM witness';

is(sql("$LOG EXCEPT ALL $WITNESS"), '', 'no event of what has not happened');
is(sql("$WITNESS EXCEPT ALL $LOG"), '', 'no event is missing in the log');
is(sql('SELECT count(*) > 10 FROM svc_event a JOIN svc_event b ON a.id > b.id AND a.xid < b.xid'),
	't', 'transactions have overlapped');

# ---- what each reader has received ----

for my $consumer (sort keys %wanted)
{
	my $received = "SELECT noun, entity_id, revision FROM received WHERE consumer = '$consumer'";

	is(sql("$WITNESS WHERE $wanted{$consumer} EXCEPT $received"), '', "$consumer: no event is lost");
	is(sql("$received EXCEPT $WITNESS WHERE $wanted{$consumer}"), '', "$consumer: nor any received that is not wanted");

	# the first time that each was received counts
	is( sql(qq{
		SELECT * FROM (
			SELECT noun, entity_id, revision, lag(revision) OVER (PARTITION BY noun, entity_id ORDER BY min(seq)) AS before
			FROM received WHERE consumer = '$consumer' GROUP BY noun, entity_id, revision) r
		WHERE before > revision}),
		'', "$consumer: the revisions of each entity in order");

	my $doubled = "SELECT count(*) FROM (SELECT FROM received WHERE consumer = '$consumer'"
	  . ' GROUP BY noun, entity_id, revision HAVING count(*) > 1) d';

	if ($consumer eq 'twice')
	{
		cmp_ok(sql($doubled), '>', 0, "$consumer: some twice, killed before they were acknowledged");
	}
	else
	{
		is(sql($doubled), 0, "$consumer: each once");
	}
}
is(sql("SELECT name FROM svc_consumer_lag WHERE pending > 0"), '', 'nothing is said to be pending');

# ---- what a remembered id misses ----

my $missed = "$WITNESS EXCEPT SELECT noun, entity_id, revision FROM received WHERE consumer = 'naive'";

note 'missed by who remembers an id: ' . sql("SELECT count(*) FROM ($missed) m");
is(sql("SELECT * FROM ($missed) m WHERE entity_id IN ('late', 'prepared', 'e prepared') ORDER BY entity_id"),
	"entitlement|e prepared|2\ncustomer|late|2\ncustomer|prepared|2",
	'who remembers the greatest id misses what commits late');

$node->stop;
done_testing();
