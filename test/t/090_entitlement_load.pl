# Everything that changes entitlements, at once, with aborts, savepoints and
# crashes of the whole server: the books stay right.
#
# psql cannot show this: it has one connection, and an isolation spec has only
# the interleavings that somebody thought of.  Here 16 clients do at random what
# svc can do to the same few grants.  Then all processes of the server are
# killed under such clients, ten times, while others log what they are answered,
# and come again with the key of the call that was not.
#
# What callers are told is entered into a table of the application's own, in the
# same transaction, so that the ledger can be compared with it.
#
# What makes use go beyond a limit is kept to customers of its own (l...), so
# that for the others no use beyond it is right, at no instant.  Time goes fast:
# tick() is a clock of 2020 in which an hour passes in three seconds, and calls
# pass it as their instant, so that holds lapse and grants are reset meanwhile.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run;
use KillAll;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $SECONDS = 25;
my $CRASHES = 10;
my $WRITERS = 4;      # that log what they are answered
my $CALLS = 1500;     # at most, of each writer between two crashes
my $dir = PostgreSQL::Test::Utils::tempdir;

my $seed = $ENV{SVC_TEST_SEED} // int(rand(2**31));
note "seed: $seed; SVC_TEST_SEED=$seed repeats the clients' choices";
srand($seed);

my $node = PostgreSQL::Test::Cluster->new('entitlement_load');
$node->init;
$node->append_conf('postgresql.conf', q{
log_statement = none
log_min_error_statement = panic
log_error_verbosity = terse
fsync = on
deadlock_timeout = 20ms
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION svc;
	SELECT svc_install();

	CREATE TABLE call (
		customer_id text NOT NULL, code text, key text, allowed boolean, remaining text,
		consumed numeric, held numeric, replayed boolean, hold_id text, refused text);

	CREATE TABLE clock AS SELECT clock_timestamp() AS started;
	CREATE FUNCTION tick() RETURNS timestamptz LANGUAGE sql VOLATILE AS
		$$ SELECT timestamptz '2020-03-01 UTC' + 1200 * (clock_timestamp() - started) FROM clock $$;

	-- A call that may be misuse by the time it comes to be made: a hold that has
	-- ended, a row that the guard refuses, an instant before the present period.
	CREATE FUNCTION attempt(customer text, call text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE call;
	EXCEPTION
		WHEN SQLSTATE 'SV003' OR SQLSTATE 'SV017' THEN
			INSERT INTO call (customer_id, refused) VALUES (customer, SQLSTATE);
		WHEN SQLSTATE '22023' THEN
			IF SQLERRM NOT LIKE '"at" must not be before the present period%' THEN
				RAISE;
			END IF;
			INSERT INTO call (customer_id, refused) VALUES (customer, SQLSTATE);
	END $$;

	CREATE TABLE member (id bigserial PRIMARY KEY, customer_id text NOT NULL, weight integer NOT NULL);
	CREATE TRIGGER seats AFTER INSERT OR UPDATE OR DELETE ON member
		FOR EACH ROW EXECUTE FUNCTION svc_guard('seats', 'customer_id', 'weight');

	SELECT svc_create_customer(jsonb_build_object('id', c, 'name', 'Ada', 'status', 'active'))
	FROM unnest(ARRAY['s1', 's2', 's3', 'r1', 'r2', 'l1', 'l2', 'k1', 'k2', 'g1', 'g2', 'w1']) c;

	-- s: stacked grants that all want the end of
	SELECT svc_grant_entitlement(c, 'api_calls', 40, id => 'e1'),
		   svc_grant_entitlement(c, 'api_calls', 20, id => 'e2', priority => 50),
		   svc_grant_entitlement(c, 'tokens', 50, id => 't1')
	FROM unnest(ARRAY['s1', 's2', 's3']) c;
	-- r: with resets that are due all the time
	SELECT svc_grant_entitlement(c, 'api_calls', 30, id => 'e1', rollover_max => 5, reset_period => 'hourly',
			   reset_anchor => '2020-03-01 UTC', valid_from => '2020-03-01 UTC'),
		   svc_grant_entitlement(c, 'api_calls', 10, id => 'e2', priority => 50),
		   svc_grant_entitlement(c, 'tokens', 1000000, id => 't1')
	FROM unnest(ARRAY['r1', 'r2']) c;
	-- l: limits that change, and use beyond them
	SELECT svc_grant_entitlement(c, 'api_calls', 50, id => 'e1', alert_percents => '{80,100}'),
		   svc_grant_entitlement(c, 'api_calls', 10, id => 'e2', priority => 50, overage => 'allow', overage_limit => 20),
		   svc_grant_entitlement(c, 'tokens', 50, id => 't1', overage => 'allow')
	FROM unnest(ARRAY['l1', 'l2']) c;
	-- k: requests with keys; some with enough for all, some not
	SELECT svc_grant_entitlement('k1', 'api_calls', 1000000, id => 'e1'),
		   svc_grant_entitlement('k1', 'tokens', 1000000, id => 't1'),
		   svc_grant_entitlement('k2', 'api_calls', 60, id => 'e1'),
		   svc_grant_entitlement('k2', 'tokens', 1000000, id => 't1');
	-- g: rows of members
	SELECT svc_grant_entitlement(c, 'seats', 30, id => 'e1'),
		   svc_grant_entitlement(c, 'seats', 10, id => 'e2', priority => 50)
	FROM unnest(ARRAY['g1', 'g2']) c;
	-- w: what is logged outside
	SELECT svc_grant_entitlement('w1', 'api_calls', 500, id => 'e1', priority => 50),
		   svc_grant_entitlement('w1', 'api_calls', 10000000, id => 'e2'),
		   svc_grant_entitlement('w1', 'tokens', 10000000, id => 't1');
});

sub sql { return $node->safe_psql('postgres', $_[0]); }

# ---- what clients do ----
#
# Pieces of pgbench scripts.  Customers are text such as s:c, with pgbench's
# variable in it; a key is SQL, null for none.

my $CALL = 'INSERT INTO call (customer_id, code, key, allowed, remaining, consumed, held, replayed, hold_id)';

sub consumption
{
	my ($customer, $code, $amount, $key, $mode) = @_;

	return "$CALL SELECT '$customer', '$code', $key, allowed, remaining::text, consumed, 0, replayed, NULL"
	  . " FROM svc_consume_entitlement('$customer', '$code', $amount, $key, '$mode', tick())";
}

sub several
{
	my ($customer, $key) = @_;

	return "$CALL SELECT '$customer', code, $key, allowed, a.remaining::text,"
	  . ' coalesce((a.consumed->>p.code)::numeric, 0), 0, replayed, NULL'
	  . " FROM svc_consume_entitlements('$customer', jsonb_build_object('tokens', :amount, 'api_calls', 1), $key, tick())"
	  . " a(allowed, reason, denied, consumed, remaining, overage, replayed), (VALUES ('api_calls'), ('tokens')) p (code)";
}

sub hold
{
	my ($customer, $key, $ttl) = @_;

	return "$CALL SELECT '$customer', 'api_calls', $key, allowed, remaining::text, 0, held, replayed, hold_id"
	  . " FROM svc_hold_entitlement('$customer', 'api_calls', :amount, $ttl, $key, 'cap', tick())";
}

# Whichever is open; another client may be about to end the same one.
sub end_of_hold
{
	my ($customer, $function, @arguments) = @_;

	return "$CALL SELECT '$customer', h.code, NULL, allowed, remaining::text, consumed, 0, replayed, NULL"
	  . " FROM (SELECT id, code FROM svc_entitlement_hold WHERE customer_id = '$customer' AND status = 'open'"
	  . ' AND line = 0 ORDER BY random() LIMIT 1) h,'
	  . " $function(" . join(', ', "'$customer'", 'h.id', @arguments, 'at => tick()') . ')';
}

# Directly, or in a subtransaction that may fail.
sub plainly { return "$_[0];\n"; }
sub attempt { my ($customer, $call) = @_; return "SELECT attempt('$customer', \$call\$$call\$call\$);\n"; }

sub one_of
{
	my $n = 0;
	my $branches = join '', map { $n++ ? "\\elif :pick = $n\n$_" : "\\if :pick = $n\n$_" } @_;

	return '\set pick random(1, ' . scalar(@_) . ")\n$branches\\endif\n";
}

# In one of the ways in which transactions go.
sub somehow
{
	my ($piece) = @_;

	return one_of(
		$piece, $piece,
		"BEGIN;\n${piece}ROLLBACK;\n",
		"BEGIN;\nSAVEPOINT a;\n${piece}ROLLBACK TO a;\n${piece}COMMIT;\n",
		"BEGIN;\n${piece}SAVEPOINT a;\n${piece}RELEASE a;\nSAVEPOINT b;\n${piece}ROLLBACK TO b;\nCOMMIT;\n",
		"BEGIN ISOLATION LEVEL REPEATABLE READ;\n${piece}${piece}COMMIT;\n",
		"BEGIN ISOLATION LEVEL SERIALIZABLE;\n${piece}COMMIT;\n");
}

# The same for s and r; r's instants may be of before a reset.
sub ordinary
{
	my ($customer, $do) = @_;

	return map { $do->($customer, $_) } (
		consumption($customer, 'api_calls', ':amount', 'NULL', 'reject'),
		consumption($customer, 'api_calls', ':amount', 'NULL', 'cap'),
		consumption($customer, 'tokens', ':amount', 'NULL', 'reject'),
		consumption($customer, 'api_calls', '-:amount', 'NULL', 'cap'),
		consumption($customer, 'tokens', '-:amount', 'NULL', 'cap'),
		several($customer, 'NULL'),
		hold($customer, 'NULL', "'20 minutes'"),
		hold($customer, 'NULL', 'NULL'));
}

sub endings
{
	my ($customer) = @_;

	return map { attempt($customer, $_) } (
		end_of_hold($customer, 'svc_settle_hold', ':less'),
		end_of_hold($customer, 'svc_settle_hold', ':amount', q{mode => 'cap'}),
		end_of_hold($customer, 'svc_release_hold'));
}

my $numbers = "\\set c random(1, 3)\n\\set d random(1, 2)\n\\set amount random(1, 4)\n\\set less random(0, 3)\n";

# Clients 0 and 1 have the same keys in the same order, 2 and 3, and so on.  What
# is asked belongs to the key.
my $next_key = "\\set n :n + 1\n\\set d :n % 2 + 1\n\\set amount :n % 3 + 1\n";
my $key = q{('key ' || :client_id / 2 || ' ' || :n)};
my @keyed = map { "$_;\n" } (
	consumption('k:d', 'api_calls', ':amount', $key, 'reject'),
	consumption('k:d', 'tokens', ':amount', $key, 'cap'),
	consumption('k:d', 'api_calls', '-:amount', $key, 'cap'),
	several('k:d', $key),
	hold('k:d', $key, q{'20 minutes'}));
my $keyed = join('', "\\set kind :n % 5\n",
	(map { ($_ ? '\elif' : '\if') . " :kind = $_\n$keyed[$_]" } 0 .. 4), "\\endif\n");
my $gone = consumption('k:d', 'tokens', 1, q{('gone ' || :load || ' ' || :client_id / 2 || ' ' || :n)}, 'reject') . ";\n";

my %script = (
	s => [ 10, $numbers . somehow(one_of(ordinary('s:c', sub { plainly($_[1]) }), endings('s:c'))) ],
	r => [ 5, $numbers . somehow(one_of(ordinary('r:d', \&attempt), endings('r:d'))) ],
	l => [ 5, $numbers . somehow(one_of(
		(map { plainly($_) } (
			consumption('l:d', 'api_calls', ':amount', 'NULL', 'overflow'),
			consumption('l:d', 'api_calls', ':amount', 'NULL', 'reject'),
			consumption('l:d', 'api_calls', '-10', 'NULL', 'cap'),
			consumption('l:d', 'tokens', ':amount', 'NULL', 'cap'),
			consumption('l:d', 'tokens', '-10', 'NULL', 'cap'),
			several('l:d', 'NULL'),
			hold('l:d', 'NULL', q{'20 minutes'}),
			"UPDATE svc_entitlement SET limit_amount = 20 * :amount WHERE customer_id = 'l:d' AND id = 'e1'",
			"UPDATE svc_entitlement SET limit_amount = 5 * :amount WHERE customer_id = 'l:d' AND code = 'api_calls'",
			"UPDATE svc_entitlement SET status = CASE status WHEN 'suspended' THEN 'active' ELSE 'suspended' END"
			  . " WHERE customer_id = 'l:d' AND id = 'e' || (1 + :amount % 2)",
			"UPDATE svc_customer SET status = CASE status WHEN 'suspended' THEN 'active' ELSE 'suspended' END"
			  . " WHERE id = 'l:d' AND (status = 'suspended' OR :amount = 1)")),
		attempt('l:d', end_of_hold('l:d', 'svc_settle_hold', '5', q{mode => 'overflow'})),
		endings('l:d'))) ],
	k => [ 5, $next_key . one_of(
		$keyed . $keyed,
		"BEGIN;\n${keyed}ROLLBACK;\n$keyed",
		"BEGIN;\nSAVEPOINT a;\n${keyed}ROLLBACK TO a;\n${keyed}COMMIT;\n",
		"BEGIN ISOLATION LEVEL REPEATABLE READ;\n${keyed}${keyed}COMMIT;\n",
		"BEGIN;\n${gone}ROLLBACK;\n$keyed",
		"BEGIN;\n${keyed}SAVEPOINT a;\n${gone}ROLLBACK TO a;\nCOMMIT;\n") ],
	g => [ 4, $numbers . somehow(one_of(map { attempt('g:d', $_) } (
		"INSERT INTO member (customer_id, weight) VALUES ('g:d', :amount)",
		"INSERT INTO member (customer_id, weight) SELECT 'g:d', 1 FROM generate_series(1, :amount)",
		"DELETE FROM member WHERE id IN (SELECT id FROM member WHERE customer_id = 'g:d' ORDER BY random() LIMIT :less)",
		"UPDATE member SET weight = :amount, customer_id = 'g' || (1 + :less % 2)"
		  . " WHERE id = (SELECT id FROM member WHERE customer_id = 'g:d' ORDER BY random() LIMIT 1)"))) ],
	due => [ 1, one_of(
		"SELECT done FROM svc_run_due(tick(), 20);\n",
		"BEGIN;\nSELECT done FROM svc_run_due(tick(), 20);\nROLLBACK;\n",
		"SELECT done FROM svc_run_due(tick());\n") ]);

append_to_file("$dir/$_.pgbench", $script{$_}[1]) for keys %script;
my @scripts = map { "--file=$dir/$_.pgbench\@$script{$_}[0]" } sort keys %script;

# Who meets 40001, or, with several calls in a transaction, 40P01, tries again.
sub start_load
{
	my ($round, $clients, $seconds) = @_;
	my $load_seed = $seed + $round;

	return IPC::Run::start(
		[ 'pgbench', '--no-vacuum', "--client=$clients", '--jobs=2', '--max-tries=10000', '--define=n=0', "--define=load=$round",
		  "--time=$seconds", "--random-seed=$load_seed", @scripts, $node->connstr('postgres') ],
		'<', \undef, '>', "$dir/load.$round.out", '2>', "$dir/load.$round.err");
}

# ---- what must hold when nobody is at work ----

sub is_none
{
	my ($name, $query) = @_;

	is(sql("SELECT count(*) FROM ($query) wrong"), 0, $name) or diag sql("SELECT * FROM ($query) wrong LIMIT 10");
}

my $LEDGER = 'svc_entitlement_ledger';

sub check_books
{
	my ($when) = @_;

	is_none("$when: svc_verify() finds nothing", 'SELECT * FROM svc_verify()');
	is_none("$when: no grant is used or held beyond what it allows", q{
		SELECT customer_id, id, limit_amount, rollover_amount, used_amount, held_amount FROM svc_entitlement
		WHERE customer_id ~ '^[skgr]' AND used_amount > limit_amount + rollover_amount});
	is_none("$when: nor has been at any row of the ledger", qq{
		SELECT * FROM (
			SELECT l.*, e.limit_amount, sum(l.amount) OVER (PARTITION BY l.customer_id, l.entitlement_id ORDER BY l.seq) AS used
			FROM $LEDGER l JOIN svc_entitlement e ON (e.customer_id, e.id) = (l.customer_id, l.entitlement_id)
			WHERE l.customer_id ~ '^[skg]') u
		WHERE used > limit_amount OR used < 0});
	is_none("$when: used_amount and held_amount are the sums of the ledger, numbered without holes", qq{
		SELECT e.customer_id, e.id FROM svc_entitlement e LEFT JOIN $LEDGER l
		ON (e.customer_id, e.id) = (l.customer_id, l.entitlement_id)
		GROUP BY e.customer_id, e.id, used_amount, held_amount, ledger_seq
		HAVING coalesce(sum(amount), 0) <> used_amount OR coalesce(sum(held), 0) <> held_amount
			OR coalesce(min(seq), 1) <> 1 OR coalesce(max(seq), 0) <> count(l.seq) OR ledger_seq <> count(l.seq)});
	is_none("$when: held_amount is what open holds hold", q{
		SELECT e.customer_id, e.id, held_amount FROM svc_entitlement e LEFT JOIN svc_entitlement_hold h
		ON (e.customer_id, e.id) = (h.customer_id, h.entitlement_id) AND h.status = 'open'
		GROUP BY e.customer_id, e.id, held_amount HAVING coalesce(sum(h.amount), 0) <> held_amount});
	is_none("$when: a hold has ended once, or not", qq{
		SELECT h.customer_id, h.id FROM svc_entitlement_hold h JOIN $LEDGER l
		ON (l.customer_id, l.entitlement_id, l.hold_id) = (h.customer_id, h.entitlement_id, h.id)
		GROUP BY h.customer_id, h.id, h.line, h.status, h.amount
		HAVING array_agg(l.kind ORDER BY l.seq) <> ARRAY['hold'] || CASE h.status
				WHEN 'settled' THEN ARRAY['settle'] WHEN 'released' THEN ARRAY['release'] WHEN 'lapsed' THEN ARRAY['lapse']
				ELSE ARRAY[]::text[] END
			OR sum(l.held) <> CASE h.status WHEN 'open' THEN h.amount ELSE 0 END});
	is_none("$when: revisions are numbered without holes in the event log", q{
		SELECT noun, customer_id, entity_id FROM svc_event WHERE noun IN ('entitlement', 'customer')
		GROUP BY noun, customer_id, entity_id HAVING min(revision) <> 1 OR max(revision) <> count(*)});
	is_none("$when: a grant's revision and status are those of its last event", q{
		SELECT customer_id, id, status, revision FROM svc_entitlement EXCEPT
		(SELECT DISTINCT ON (customer_id, entity_id) customer_id, entity_id, to_status, revision FROM svc_event
		 WHERE noun = 'entitlement' ORDER BY customer_id, entity_id, revision DESC)});
	is_none("$when: a grant is exhausted when all of it is used", q{
		SELECT customer_id, id, status FROM svc_entitlement
		WHERE status IN ('active', 'exhausted') AND (status = 'exhausted') <> (used_amount >= limit_amount + rollover_amount)});
	is_none("$when: the ledger is what callers were told", qq{
		SELECT customer_id, code, sum(consumed), sum(held) FROM call
		WHERE NOT replayed GROUP BY customer_id, code HAVING sum(consumed) <> 0 OR sum(held) <> 0
		EXCEPT
		SELECT customer_id, code, sum(amount) FILTER (WHERE kind IN ('consume', 'refund', 'settle')),
			   coalesce(sum(held) FILTER (WHERE kind = 'hold'), 0)
		FROM $LEDGER GROUP BY customer_id, code});
	is_none("$when: members are worth what is used of seats", q{
		SELECT customer_id, sum(used_amount) FROM svc_entitlement WHERE customer_id ~ '^g' GROUP BY customer_id
		EXCEPT SELECT c, coalesce(sum(weight), 0) FROM unnest(ARRAY['g1', 'g2']) c LEFT JOIN member ON customer_id = c GROUP BY c});
	is_none("$when: no key has taken effect twice", qq{
		SELECT customer_id, idempotency_key FROM $LEDGER WHERE line = 0 AND idempotency_key IS NOT NULL
		GROUP BY customer_id, idempotency_key HAVING count(*) > 1});
	is_none("$when: the keys in the ledger are those of calls that were allowed", qq{
		(SELECT customer_id, key FROM call WHERE allowed AND key IS NOT NULL
		 EXCEPT SELECT customer_id, idempotency_key FROM $LEDGER WHERE line = 0)
		UNION ALL
		(SELECT customer_id, idempotency_key FROM $LEDGER WHERE customer_id ~ '^k' AND line = 0 AND idempotency_key IS NOT NULL
		 EXCEPT SELECT customer_id, key FROM call WHERE allowed)});
	is_none("$when: each repeat was given the first answer, and one call was the first", q{
		SELECT customer_id, key, code FROM call WHERE allowed AND key IS NOT NULL GROUP BY customer_id, key, code
		HAVING count(DISTINCT (remaining, consumed, held, hold_id)) <> 1 OR count(*) FILTER (WHERE NOT replayed) <> 1});
}

# ---- 16 clients at once ----

my $load = start_load(0, 16, $SECONDS);

$load->finish;
is($load->result(0), 0, 'no client meets an error') or diag slurp_file("$dir/load.0.err");
like(slurp_file("$dir/load.0.out"), qr/number of failed transactions: 0 /, 'and none has given up');
note join "\n", slurp_file("$dir/load.0.out") =~ /^(number of transactions actually.*|.*retried.*|tps.*)$/mg;
note sql("SELECT kind, count(*) FROM $LEDGER GROUP BY kind ORDER BY kind");
note sql('SELECT refused, count(*) FROM call GROUP BY refused ORDER BY refused');
check_books('after the load');

is(sql("SELECT string_agg(DISTINCT kind, ' ' ORDER BY kind) FROM $LEDGER"),
	'consume hold lapse limit refund release reset settle', 'everything has happened');
is(sql(q{SELECT string_agg(DISTINCT customer_id, ' ' ORDER BY customer_id) FROM call WHERE NOT allowed AND customer_id ~ '^[skl]'}),
	'k2 l1 l2 s1 s2 s3', 'limits were met');
is(sql("SELECT string_agg(DISTINCT refused, ' ' ORDER BY refused) FROM call WHERE customer_id ~ '^[sg]'"),
	'SV003 SV017', 'so were the guard, and holds that had ended');
is(sql('SELECT count(*) > 100 FROM call WHERE replayed'), 't', 'keys were repeated');
is(sql("SELECT count(*) > 10 FROM svc_event WHERE event = 'exhausted' AND customer_id = 's1'"),
	't', 'grants were exhausted more than once');

is(sql("SELECT count(*) FROM $LEDGER WHERE idempotency_key ~ '^gone'"), 0, 'a key that was rolled back is not in the ledger');
is( sql(q{
	SELECT count(*) FROM generate_series(0, 7) pair, generate_series(1, 50) n,
		svc_consume_entitlement('k1', 'tokens', 2, 'gone 0 ' || pair || ' ' || n * 2, at => tick()) a
	WHERE NOT allowed OR replayed}),
	0, 'and is free, for another request as well');
sql(qq{
	INSERT INTO call (customer_id, code, key, allowed, consumed, held, replayed)
	SELECT customer_id, code, idempotency_key, true, amount, 0, false FROM $LEDGER WHERE idempotency_key ~ '^gone'});

# ---- all processes of the server are killed, again and again ----
#
# Writers make the same calls in the same order, each with its own key.  A key is
# logged when its answer has come.  After a crash a writer begins at the last
# one that was logged, and goes on with the call that was not answered.

my %answer;    # key => what was answered first
my @logged = (0) x $WRITERS;

sub call_of
{
	my ($writer, $n) = @_;
	my $writer_key = "$writer-$n";
	my $before = "$writer-" . ($n - 1);
	my $amount = $n % 3 + 1;

	return "SELECT '$writer_key', replayed, format('%s %s %s', allowed, "
	  . (
		$n % 5 == 1 ? "consumed, remaining) FROM svc_consume_entitlement('w1', 'api_calls', $amount, '$writer_key', 'cap', tick())" :
		$n % 5 == 2 ? "consumed, remaining) FROM svc_consume_entitlements('w1', '{\"tokens\": 2, \"api_calls\": $amount}', '$writer_key', tick())" :
		$n % 5 == 3 ? "held, remaining) FROM svc_hold_entitlement('w1', 'api_calls', $amount, NULL, '$writer_key', at => tick())" :
		$n % 5 == 4 ? "consumed, remaining) FROM svc_settle_hold('w1', (SELECT hold_id FROM $LEDGER"
		  . " WHERE customer_id = 'w1' AND idempotency_key = '$before' AND line = 0), 2, '$writer_key', at => tick())" :
		"consumed, remaining) FROM svc_consume_entitlement('w1', 'api_calls', -1, '$writer_key', 'cap', tick())")
	  . ";\n";
}

sub start_writers
{
	my ($round, $calls) = @_;

	return map {
		my $writer = $_;
		my $from = $logged[$writer] || 1;

		append_to_file("$dir/$writer.$round.sql", join '', map { call_of($writer, $_) } $from .. $from + $calls);
		IPC::Run::start(
			[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', "$dir/$writer.$round.sql" ],
			'<', \undef, '>', "$dir/$writer.$round.out", '2>', "$dir/$writer.$round.err")
	} 0 .. $WRITERS - 1;
}

sub answers_of
{
	my ($round) = @_;

	return map { split /\n/, slurp_file("$dir/$_.$round.out") } 0 .. $WRITERS - 1;
}

sub wait_for_answers
{
	my ($round, $enough) = @_;

	for (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if answers_of($round) >= $enough;
		usleep(10_000);
	}
	die 'the writers get no answers';
}

# What was answered before has been answered again; the rest is new.
sub read_answers
{
	my ($round, $when) = @_;
	my @wrong;

	for my $line (answers_of($round))
	{
		my ($writer_key, $replayed, $told) = split /\|/, $line;
		my ($writer, $n) = split /-/, $writer_key;

		push @wrong, $line
		  if exists $answer{$writer_key} && ($answer{$writer_key} ne $told || $replayed ne 't');
		push @wrong, $line if $told !~ /^t /;
		$answer{$writer_key} //= $told;
		$logged[$writer] = $n if $n > $logged[$writer];
	}
	is_deeply(\@wrong, [], "$when: who asks again is given the first answer");
}

# The answers in the ledger, by key; also what was not logged.
sub stored_answers
{
	return map { split /\|/ } split /\n/, sql(qq{
		SELECT idempotency_key, format('%s %s %s', left(answer->>'allowed', 1),
			coalesce(answer->>'held', answer->>'consumed'), answer->>'remaining')
		FROM $LEDGER WHERE customer_id = 'w1' AND line = 0});
}

for my $round (1 .. $CRASHES)
{
	my $crowd = start_load($round, 6, 60);
	my @writers = start_writers($round, $CALLS);
	my $killed;

	wait_for_answers($round, 40);
	usleep(200_000 + rand(400_000));
	$killed = kill_all($node);
	$_->finish for $crowd, @writers;
	is(scalar(grep { $_->result(0) == 0 } $crowd, @writers), 0, "crash $round: all clients have lost their server");
	is(join('', map { slurp_file($_) } glob "$dir/*.$round.err") =~ /ERROR:.*/ ? $& : '',
		'', "crash $round: and have met no other error");
	cmp_ok($killed, '>', 10, "crash $round: of which so many processes were killed");
	read_answers($round, "crash $round");
	$node->start;

	my %stored = stored_answers();
	my @unanswered = grep { !exists $answer{$_} } keys %stored;

	note sprintf '%d calls were answered, %d others took effect', scalar keys %answer, scalar @unanswered;
	is_deeply([ grep { ($stored{$_} // '') ne $answer{$_} } sort keys %answer ],
		[], "crash $round: what was answered is stored, as it was answered");
	is_deeply([ grep { my ($writer, $n) = split /-/; $n != $logged[$writer] + 1 } @unanswered ],
		[], "crash $round: of what was not, at most the call under way");
	is_none("crash $round: svc_verify() finds nothing", 'SELECT * FROM svc_verify()');
	is_none("crash $round: no key is there twice", qq{
		SELECT FROM $LEDGER WHERE line = 0 AND idempotency_key IS NOT NULL
		GROUP BY customer_id, idempotency_key HAVING count(*) > 1});
}

my @writers = start_writers($CRASHES + 1, 9);

$_->finish for @writers;
is(scalar(grep { $_->result(0) != 0 } @writers), 0, 'no crash: all writers come to their end');
read_answers($CRASHES + 1, 'no crash');
is_deeply({ stored_answers() }, \%answer, 'no crash: what is stored is what was answered');
is( sql(qq{
	SELECT DISTINCT sum(l.amount) = sum(CASE WHEN l.line > 0 THEN 0
		WHEN jsonb_typeof(answer->'consumed') = 'object' THEN (answer->'consumed'->>'api_calls')::numeric + (answer->'consumed'->>'tokens')::numeric
		ELSE coalesce((answer->>'consumed')::numeric, 0) END)
	FROM $LEDGER l WHERE customer_id = 'w1'}), 't', 'no crash: the sum of what was answered is what is used');
check_books('after the crashes');

$node->stop;
done_testing();
