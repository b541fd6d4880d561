# Consumers, replicas and standbys: what svc knows holds in another server, too.
#
# psql cannot show this: it takes several clusters with system identifiers of
# their own.  What makes an event new to a consumer are the transactions that
# its snapshot has seen, and these mean nothing in the cluster that a dump is
# restored to.  A subscriber gets the rows of svc with the events that they have
# made, and must not make them again.  A standby cannot write, until it is
# promoted and has to go on where the primary was.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $first = new_cluster('a', allows_streaming => 'logical');
my $second = new_cluster('b', allows_streaming => 'logical');
my $third = new_cluster('c');
my $dir = PostgreSQL::Test::Utils::tempdir;

$_->safe_psql('postgres', 'CREATE ROLE svc_owner') for ($first, $second, $third);
isnt(cluster_of($first), cluster_of($second), 'a and b are different clusters');
isnt(cluster_of($_), cluster_of($third), 'and so is c') for ($first, $second);

# An event is known here as "id=entity.revision", and told without its id.
my $NAME = q{concat(id, '=', CASE noun WHEN 'customer' THEN '' ELSE concat_ws('/', noun, customer_id, '') END,
	entity_id, '.', revision)};

my @sessions;
my %acked;     # consumer => the events that it has acknowledged in the source

# ---- a source with all that can be open in it ----

create_db($first, 'source');
sql($first, 'source', 'CREATE EXTENSION svc; SELECT svc_install()');
my $late_at_first = start_transaction($first, 'source');
my $late_at_second = start_transaction($first, 'source');
my $later_than_the_dump = start_transaction($first, 'source');

$later_than_the_dump->query_safe(creates('never'));
sql($first, 'source', creates('a01', 'a02', 'a03', 'a04'));
sql($first, 'source', q{
	SELECT svc_create_consumer(name, 'beginning')
	FROM unnest('{paging, closed, first page, untouched, round}'::text[]) name;
	SELECT svc_create_consumer('churned', 'beginning', '{svc.customer.churned}');
	SELECT svc_create_consumer('of a02', 'beginning', customer_id => 'a02');
	SELECT svc_create_consumer('from now')});
$acked{$_} = [] for ('paging', 'closed', 'first page', 'untouched', 'round', 'churned', 'of a02');
$acked{'from now'} = [ all_events($first, 'source') ];

$late_at_first->query_safe(creates('late1'));
sql($first, 'source', creates('a05', 'a06'));
for my $consumer ('paging', 'closed')
{
	push @{ $acked{$consumer} }, drain($first, 'source', $consumer, 4);
	is_events($acked{$consumer}, [ map { "a0$_.1" } 1 .. 6 ],
		"source: $consumer has got what was committed at its first poll");
}

# The next window of "paging" has the late event with the lowest id, and is left
# open with some of its page acknowledged, and one that came too late for it.
$late_at_second->query_safe(creates('late2'));
sql($first, 'source', creates('a07', 'a08', 'a09') . churns('a01', 'a02'));
$late_at_first->query_safe('COMMIT');
my @page = poll($first, 'source', 'paging', 4);
is_events([ names(@page) ], [ 'late1.1', 'a07.1', 'a08.1', 'a09.1' ], 'source: a late event comes with the next window');
ack($first, 'source', 'paging', @page[ 0, 1 ]);
push @{ $acked{'paging'} }, names(@page[ 0, 1 ]);
@page = poll($first, 'source', 'first page', 5);
ack($first, 'source', 'first page', $page[0], $page[1]);
push @{ $acked{'first page'} }, names(@page[ 0, 1 ]);
$late_at_second->query_safe('COMMIT');
sql($first, 'source', churns('a07') . creates('a10'));

my $IN_PAGE = q{
	SELECT window_snapshot IS NOT NULL, snapshot IS NOT NULL, position > 0, polled_id > position
	FROM svc_event_consumer WHERE name = 'paging'};
is(sql($first, 'source', $IN_PAGE), 't|t|t|t', 'source: the dump is taken in the middle of a page');
my @source_events = all_events($first, 'source');
dump_db($first, 'source', 'source.sql', '--format=plain');
dump_db($first, 'source', 'source.dump', '--format=custom');
$later_than_the_dump->query_safe('COMMIT');

# ---- restored, and read before anything is written there ----

for my $restored (
	[ $second, 'by_psql', 'source.sql' ],
	[ $second, 'by_pg_restore', 'source.dump' ],
	[ $first, 'beside', 'source.dump' ])
{
	my ($cluster, $db, $file) = @$restored;

	restore($cluster, $db, $file);
	is(sql($cluster, $db, $IN_PAGE), 't|t|t|t', "$db: the window is open");
	is_lag_right($cluster, $db);
	sql($cluster, $db, "SELECT svc_create_consumer('new'), svc_create_consumer('all', 'beginning')");
	gets_pending($cluster, $db, $_) for sort keys %acked;
	is_events([ drain($cluster, $db, 'new', 3) ], [], "$db: a consumer from now on gets nothing that was restored");
	is_events([ drain($cluster, $db, 'all', 3) ], \@source_events, "$db: one from the beginning gets all of it");

	# then what is written there, with a transaction that is late there
	my $late = start_transaction($cluster, $db);

	$late->query_safe(creates('late3'));
	sql($cluster, $db, creates('b01', 'b02') . churns('a08'));
	for my $consumer ('paging', 'closed', 'first page', 'untouched', 'from now', 'new', 'all')
	{
		is_events([ drain($cluster, $db, $consumer, 2) ],
			[ 'b01.1', 'b02.1', 'a08.2' ], "$db: $consumer then gets what is written there");
	}
	$late->query_safe('COMMIT');
	sql($cluster, $db, creates('b03'));
	for my $consumer ('paging', 'closed', 'first page', 'untouched', 'from now', 'new', 'all')
	{
		is_events([ drain($cluster, $db, $consumer, 1) ],
			[ 'late3.1', 'b03.1' ], "$db: $consumer also gets what was late there");
	}
	is_events([ drain($cluster, $db, 'churned', 2) ], ['a08.2'], "$db: and types still count");
}

# ---- restored, and written to before the first poll ----
#
# So the window that is still open is read together with what is written here,
# some of which commits only when that has begun.

for my $restored ([ $second, 'busy' ], [ $first, 'busy_beside' ])
{
	my ($cluster, $db) = @$restored;

	restore($cluster, $db, 'source.dump');
	my $late = start_transaction($cluster, $db);
	sql($cluster, $db, creates('b01'));
	$late->query_safe(creates('late3'));
	sql($cluster, $db, creates('b02', 'b03'));
	my @before = grep { !/late3/ } all_events($cluster, $db);
	for my $consumer (sort keys %acked)
	{
		is_events([ drain($cluster, $db, $consumer, 2) ], [ pending($consumer, @before) ],
			"$db: $consumer gets what is pending and new, each event once");
	}
	$late->query_safe('COMMIT');
	sql($cluster, $db, creates('b04'));
	for my $consumer (sort keys %acked)
	{
		is_events([ drain($cluster, $db, $consumer, 2) ],
			[ pending($consumer, 'late3.1', 'b04.1') ], "$db: $consumer also gets what was late");
	}
}

# ---- on to a third cluster ----
#
# Not polled in b: so events of two other clusters are waiting in c.  "round"
# is polled there and has a page open when it moves on.

restore($second, 'chain', 'source.dump');
sql($second, 'chain', creates('b01', 'b02') . churns('a09'));
$acked{'round'} = [ drain($second, 'chain', 'round', 3) ];
is_events($acked{'round'}, [ all_events($second, 'chain') ], 'chain: round has got everything so far');
sql($second, 'chain', creates('b03', 'b04', 'b05'));
my $late_in_chain = start_transaction($second, 'chain');
$late_in_chain->query_safe(creates('late3'));
sql($second, 'chain', creates('b06'));
@page = poll($second, 'chain', 'round', 2);
ack($second, 'chain', 'round', $page[0]);
push @{ $acked{'round'} }, names($page[0]);
$late_in_chain->query_safe('COMMIT');
sql($second, 'chain', "SELECT svc_create_consumer('made in b')");
$acked{'made in b'} = [ all_events($second, 'chain') ];
sql($second, 'chain', churns('b01'));
dump_db($second, 'chain', 'chain.dump', '--format=custom');

# and back again to where the first events are from
for my $restored ([ $third, 'third' ], [ $first, 'home' ])
{
	my ($cluster, $db) = @$restored;

	restore($cluster, $db, 'chain.dump');
	is_lag_right($cluster, $db);
	sql($cluster, $db, "SELECT svc_create_consumer('new')");
	for my $consumer (sort keys %acked)
	{
		gets_pending($cluster, $db, $consumer);
	}
	sql($cluster, $db, creates('c01', 'c02') . churns('b02'));
	for my $consumer (sort(keys %acked), 'new')
	{
		is_events([ drain($cluster, $db, $consumer, 2) ],
			[ pending($consumer, 'c01.1', 'c02.1', 'b02.2') ], "$db: $consumer then gets what is written there");
	}
}

$_->quit for @sessions;
@sessions = ();

# ---- logical replication ----
#
# Rows arrive that have made their events, which arrive, too.  So does the row
# of svc_meta, next to the one that svc_install() has made there.

create_db($first, 'publisher');
create_db($second, 'subscriber');
sql($first, 'publisher', 'CREATE EXTENSION svc; SELECT svc_install(); CREATE PUBLICATION everything FOR ALL TABLES');
sql($second, 'subscriber', 'CREATE EXTENSION svc; SELECT svc_install()');
my $log_start = -s $second->logfile;

sql($first, 'publisher', all_nouns('before'));
sql($first, 'publisher', "SELECT svc_create_consumer('replicated', 'beginning')");
$acked{'replicated'} = [ drain($first, 'publisher', 'replicated', 20) ];
sql($second, 'subscriber', "CREATE SUBSCRIPTION everything CONNECTION '"
	  . $first->connstr . " dbname=publisher' PUBLICATION everything");
$second->wait_for_subscription_sync($first, 'everything', 'subscriber');
is_replica('after the copy of what was there');

sql($first, 'publisher', all_nouns('after'));
my $late_at_publisher = start_transaction($first, 'publisher');
$late_at_publisher->query_safe(creates('late4'));
sql($first, 'publisher', 'BEGIN; ' . creates('undone') . 'ROLLBACK; BEGIN; ' . creates('kept')
	  . 'SAVEPOINT s; ' . churns('kept') . 'ROLLBACK TO s; COMMIT;');
@page = poll($first, 'publisher', 'replicated', 10);
ack($first, 'publisher', 'replicated', @page[ 0 .. 6 ]);
push @{ $acked{'replicated'} }, names(@page[ 0 .. 6 ]);
$late_at_publisher->query_safe('COMMIT');

# A retry that waits for the first call writes nothing that a subscriber could
# trip over.
sql($first, 'publisher', q{
	SELECT svc_create_customer('{"id": "retry", "name": "Ada", "status": "active", "created_at": "2019-01-01Z"}'), svc_grant_entitlement('retry', 'api_calls', 10)});
my $first_call = start_transaction($first, 'publisher');
my $retry = start_transaction($first, 'publisher');
my $call = q{SELECT allowed, replayed FROM svc_consume_entitlement('retry', 'api_calls', 1, 'key');};
$first_call->query_safe($call);
$retry->query_until(qr/begun/, "\\echo begun\n$call\n");
$first->poll_query_until('publisher', "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'svc_consume'");
$first_call->query_safe('COMMIT');
$retry->query_safe('COMMIT');
$first->wait_for_catchup('everything');
is_replica('after writes of all kinds');
is(sql($second, 'subscriber', q{SELECT count(*) FROM svc_entitlement_ledger WHERE customer_id = 'retry'}), 1, 'subscriber: and the call that was made twice');

unlike(substr(slurp_file($second->logfile), $log_start), qr/ERROR:|FATAL:|PANIC:/, 'subscriber: no error in its log');
is(sql($second, 'subscriber', 'SELECT apply_error_count, sync_error_count FROM pg_stat_subscription_stats'),
	'0|0', 'subscriber: and none was counted');
is(sql($second, 'subscriber', 'SELECT svc_version()'), sql($first, 'publisher', 'SELECT svc_version()'),
	"subscriber: the publisher's row of svc_meta does no harm");
is(sql($second, 'subscriber', $_), sql($first, 'publisher', $_), "subscriber: same answer: $_")
  for check_queries('after');

# The subscriber takes over.  Sequences are not replicated, as always; ids have
# to go on above all that was drawn, also by what was rolled back.
sql($second, 'subscriber', 'DROP SUBSCRIPTION everything');
sql($second, 'subscriber', q{
	SELECT svc_install(), setval('svc_event_id_seq', greatest(
		(SELECT max(id) FROM svc_event),
		(SELECT max(greatest(horizon, window_horizon)) FROM svc_event_consumer)))});
is_lag_right($second, 'subscriber', 'replicated');
sql($second, 'subscriber', creates('s01') . churns('late4'));
gets_pending($second, 'subscriber', 'replicated');
is(sql($second, 'subscriber', "SELECT entity_id, revision, event FROM svc_event WHERE cluster = " . cluster_of($second) . ' ORDER BY id'),
	"s01|1|created\nlate4|2|churned", 'subscriber: what it writes itself has its events');
is(sql($second, 'subscriber', "SELECT replayed, consumed FROM svc_consume_entitlement('after1', 'calls', 3, 'key 1')"),
	't|3', 'subscriber: a key that was used at the publisher is replayed');
are_books_right($second, 'subscriber');

# ---- a standby, and its promotion ----

create_db($first, 'live');
sql($first, 'live', 'CREATE EXTENSION svc; SELECT svc_install();' . all_nouns('old')
	  . "SELECT svc_create_consumer('standing', 'beginning'), svc_create_consumer('at the end', 'beginning')");
$acked{$_} = [] for ('standing', 'at the end');
$first->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');

$standby->init_from_backup($first, 'base', has_streaming => 1);
$standby->start;

my $late_at_primary = start_transaction($first, 'live');
my $lost_at_primary = start_transaction($first, 'live');
$late_at_primary->query_safe(creates('late5'));
$lost_at_primary->query_safe(creates('lost'));
sql($first, 'live', all_nouns('new'));
push @{ $acked{'at the end'} }, drain($first, 'live', 'at the end', 7);
is_events($acked{'at the end'}, [ all_events($first, 'live') ], 'primary: a consumer has got what was committed');
@page = poll($first, 'live', 'standing', 9);
ack($first, 'live', 'standing', @page[ 0 .. 4 ]);
push @{ $acked{'standing'} }, names(@page[ 0 .. 4 ]);
sql($first, 'live', creates('tail'));
$late_at_primary->query_safe('COMMIT');
$first->wait_for_catchup($standby, 'replay', $first->lsn('insert'));

is($standby->safe_psql('live', 'SELECT pg_is_in_recovery()'), 't', 'standby: it is one');
is(sql($standby, 'live', $_), sql($first, 'live', $_), "standby: same answer: $_")
  for ('SELECT * FROM svc_consumer_lag ORDER BY name', check_queries('new'), check_queries('old'));
is_lag_right($standby, 'live', 'standing', 'at the end');
for my $call (
	"svc_consume_entitlement('new1', 'calls')", "svc_consume_entitlement('new1', 'calls', 1, 'key 2')",
	"svc_require_entitlement('new1', 'calls')", "svc_poll_events('standing')",
	"svc_ack_events('standing', 1)", "svc_create_consumer('another')",
	"svc_drop_consumer('standing')", "svc_purge_events('2000-01-01')",
	"svc_churn_customer('new1')", "svc_grant_entitlement('new1', 'calls', 1)")
{
	my (undef, undef, $stderr) =
	  $standby->psql('live', "\\set VERBOSITY verbose\nSELECT * FROM $call", on_error_stop => 0);

	like($stderr, qr/ERROR:  25006: /, "standby: 25006: $call");
}
is(sql($standby, 'live', "SELECT allowed, consumed, replayed FROM svc_consume_entitlement('new1', 'calls', 3, 'key 1')"),
	't|3|t', 'standby: a replay writes nothing, and works');
my @events_at_standby = all_events($standby, 'live');
is_events(\@events_at_standby, [ all_events($first, 'live') ], 'standby: it has all events');

$first->stop('immediate');
$standby->promote;
is(sql($standby, 'live', "SELECT allowed, consumed, replayed FROM svc_consume_entitlement('new1', 'calls', 3, 'key 1')"),
	't|3|t', 'promoted: a key consumed on the old primary is replayed');
is(sql($standby, 'live', "SELECT allowed, remaining, replayed FROM svc_consume_entitlement('new1', 'calls', 1, 'key 2')"),
	't|6|f', 'promoted: a consume goes on where the primary was');
sql($standby, 'live', churns('new1') . creates('p01', 'p02'));
is_events([ all_events($standby, 'live') ], [ @events_at_standby, 'new1.2', 'p01.1', 'p02.1' ],
	'promoted: each change has its event');
for my $consumer ('standing', 'at the end')
{
	my $late = start_transaction($standby, 'live');

	gets_pending($standby, 'live', $consumer);
	push @{ $acked{$consumer} }, all_events($standby, 'live');
	$late->query_safe(creates("late of $consumer"));
	sql($standby, 'live', creates("beside $consumer"));
	is_events([ drain($standby, 'live', $consumer, 1) ], ["beside $consumer.1"], "promoted: $consumer goes on");
	$late->query_safe('COMMIT');
	is_events([ drain($standby, 'live', $consumer, 1) ], ["late of $consumer.1"], "promoted: $consumer gets what is late");
}
are_books_right($standby, 'live');

$_->quit for @sessions;
$_->stop for ($second, $third, $standby);
done_testing();

# ---- what the tests above are made of ----

sub new_cluster
{
	my ($name, @options) = @_;
	my $cluster = PostgreSQL::Test::Cluster->new($name);

	$cluster->init(@options);
	$cluster->append_conf('postgresql.conf', "autovacuum = off\n");
	$cluster->start;
	return $cluster;
}

sub cluster_of { return $_[0]->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()'); }

sub create_db
{
	my ($cluster, $db) = @_;

	$cluster->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0");
}

sub sql
{
	my ($cluster, $db, $sql) = @_;

	return $cluster->safe_psql($db, $sql);
}

# A session in a transaction that has its id.
sub start_transaction
{
	my ($cluster, $db) = @_;
	my $session = $cluster->background_psql($db);

	$session->query_safe('BEGIN; SELECT pg_current_xact_id()');
	push @sessions, $session;
	return $session;
}

# One transaction each, unless within one.
sub creates { return join '', map { qq{SELECT svc_create_customer('{"id": "$_", "name": "Ada", "status": "active", "created_at": "2019-01-01Z"}');\n} } @_; }
sub churns { return join '', map { "SELECT svc_churn_customer('$_');\n" } @_; }

sub dump_db
{
	my ($cluster, $db, $file, @options) = @_;

	command_ok([ 'pg_dump', @options, '-f', "$dir/$file", '-d', $cluster->connstr($db) ], "$db: dumped to $file");
}

sub restore
{
	my ($cluster, $db, $file) = @_;
	my $stderr;

	create_db($cluster, $db);
	if ($file =~ /\.sql$/)
	{
		(undef, undef, $stderr) = $cluster->psql($db, "\\i $dir/$file\n", on_error_stop => 0);
	}
	else
	{
		(undef, $stderr) = run_command([ 'pg_restore', '-j4', '-d', $cluster->connstr($db), "$dir/$file" ]);
	}
	is($stderr, '', "$db: $file is restored without complaint");
}

sub names { return map { s/^\d+=//r } @_; }

sub all_events
{
	my ($cluster, $db) = @_;

	return names(split /\n/, sql($cluster, $db, "SELECT $NAME FROM svc_event ORDER BY id"));
}

sub poll
{
	my ($cluster, $db, $consumer, $rows) = @_;

	return split /\n/, sql($cluster, $db, "SELECT $NAME FROM svc_poll_events('$consumer', $rows, '0')");
}

sub ack
{
	my ($cluster, $db, $consumer, @events) = @_;
	my ($id) = $events[-1] =~ /^(\d+)=/;

	sql($cluster, $db, "SELECT svc_ack_events('$consumer', $id)");
}

# All that there is for a consumer, page by page.
sub drain
{
	my ($cluster, $db, $consumer, $rows) = @_;
	my @events;

	# acknowledge a page and poll the next, in two transactions
	my $ack = '';

	while (my @page = split /\n/, sql($cluster, $db, "$ack SELECT $NAME FROM svc_poll_events('$consumer', $rows, '0')"))
	{
		my ($id) = $page[-1] =~ /^(\d+)=/;

		$ack = "DO 'BEGIN PERFORM svc_ack_events(''$consumer'', $id); END';";
		push @events, names(@page);
		die "$consumer never comes to an end" if @events > 1000;
	}
	return @events;
}

# The events among some that a consumer wants and has not acknowledged.
sub pending
{
	my ($consumer, @events) = @_;
	my %done = map { $_ => 1 } @{ $acked{$consumer} // [] };

	@events = grep { !/\.1$/ } @events if $consumer eq 'churned';
	@events = grep { /^a02\./ } @events if $consumer eq 'of a02';
	return grep { !$done{$_} } @events;
}

sub gets_pending
{
	my ($cluster, $db, $consumer) = @_;

	is_events([ drain($cluster, $db, $consumer, 3) ], [ pending($consumer, all_events($cluster, $db)) ],
		"$db: $consumer gets exactly what it has not acknowledged");
}

# The view counts as we do.
sub is_lag_right
{
	my ($cluster, $db, @consumers) = @_;
	my @events = all_events($cluster, $db);

	@consumers = keys %acked unless @consumers;
	is( sql($cluster, $db, 'SELECT name, pending FROM svc_consumer_lag ORDER BY name COLLATE "C"'),
		join("\n", map { "$_|" . scalar(my @pending = pending($_, @events)) } sort @consumers),
		"$db: svc_consumer_lag counts what is pending");
}

# The same events, and each entity's in order.
sub is_events
{
	my ($got, $want, $what) = @_;
	my %revision;
	my @unordered;

	is(join(' ', sort @$got), join(' ', sort @$want), $what);
	for (@$got)
	{
		my ($entity, $number) = /^(.*)\.(\d+)$/;

		push @unordered, $_ if $number <= ($revision{$entity} // 0);
		$revision{$entity} = $number;
	}
	is("@unordered", '', "$what: in order") if @unordered;
}

# Something of each noun, with the ids of its own; what is counted, too.
sub all_nouns
{
	my ($ids) = @_;

	return qq{
		SELECT svc_create_plan('{"id": "$ids", "name": "Basic", "price": 10}');
	} . creates(map { "$ids$_" } 1 .. 4) . qq{
		SELECT svc_create_subscription('${ids}1', '$ids', properties => '{"id": "s", "price": 10}');
		SELECT svc_pause_subscription('${ids}1', 's'), svc_resume_subscription('${ids}1', 's');
		SELECT svc_create_order('${ids}1', '{"id": "o", "subtotal": 10, "tax": 1}');
		SELECT svc_confirm_order('${ids}1', 'o');
		SELECT svc_create_invoice('${ids}1', '{"id": "i", "total": 10}');
		SELECT svc_finalize_invoice('${ids}1', 'i'), svc_pay_invoice('${ids}1', 'i', 4);
		SELECT svc_pay_invoice('${ids}1', 'i');
		SELECT svc_create_ticket('${ids}3', '{"id": "t", "subject": "s"}');
		SELECT svc_create_segment('{"id": "$ids", "name": "VIP"}');
		SELECT svc_add_segment_customer('$ids', '${ids}1'), svc_add_segment_customer('$ids', '${ids}3');
		SELECT svc_record_usage('${ids}3', 'calls', 2, '2020-01-02Z', 'key');
		SELECT svc_grant_entitlement('${ids}1', 'calls', 10, id => 'e'),
			   svc_grant_entitlement('${ids}1', 'exports', 2, id => 'x'),
			   svc_grant_entitlement('${ids}1', 'exports', 2, priority => 1, id => 'y'),
			   svc_grant_entitlement('${ids}3', 'calls', 5, id => 'e3');
		SELECT svc_consume_entitlement('${ids}1', 'calls', 3, 'key 1');
		SELECT svc_consume_entitlement('${ids}1', 'exports', 3.5, 'split');
		SELECT svc_consume_entitlement('${ids}3', 'calls', 5, 'all');
		SELECT svc_reset_entitlement('${ids}1', 'y');
		UPDATE svc_customer SET status = 'suspended', email = 'ada\@example.com' WHERE id = '${ids}2';
		SELECT svc_merge_customer('${ids}3', '${ids}2');
		SELECT svc_delete_customer('${ids}4');
	};
}

# What only reads.
sub check_queries
{
	my ($ids) = @_;

	return (
		"SELECT * FROM svc_check_entitlement('${ids}1', 'calls', at => '2100-01-01Z')",
		"SELECT * FROM svc_check_entitlement('${ids}1', 'exports', 100, '2100-01-01Z')",
		"SELECT * FROM svc_check_entitlement('nobody', 'calls', at => '2100-01-01Z')",
		"SELECT * FROM svc_available_actions('customer', NULL, '${ids}1')",
		"SELECT * FROM svc_available_actions('entitlement', '${ids}1', 'e')",
		"SELECT svc_segment_of('${ids}1')",
		"SELECT count(*), md5(string_agg(t::text, '' ORDER BY line)) FROM svc_transitions() t",
		"SELECT md5(svc_transition_diagram('customer'))",
		"SELECT * FROM svc_version()");
}

# Every table has the publisher's rows; svc_meta has them next to its own.
sub is_replica
{
	my ($when) = @_;
	my ($got, $want) = (rows_of($second, 'subscriber'), rows_of($first, 'publisher'));

	cmp_ok(scalar keys %$want, '>', 10, "subscriber: $when: there are tables to compare");
	is($got->{'svc_event'}, $want->{'svc_event'}, "subscriber: $when: the same events");
	delete $_->{'svc_meta'} for ($got, $want);
	is_deeply($got, $want, "subscriber: $when: the same rows") or diag explain $got;
	are_books_right($first, 'publisher');
	are_books_right($second, 'subscriber');
}

sub rows_of
{
	my ($cluster, $db) = @_;
	my @tables = split /\n/, sql($cluster, $db, q{
		SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'svc\_%'});
	my %rows;

	$rows{$_} = sql($cluster, $db, qq{
		SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE "C")) FROM $_ t})
	  for @tables;
	return \%rows;
}

sub are_books_right
{
	my ($cluster, $db) = @_;

	is( sql($cluster, $db, q{
			SELECT e.customer_id, e.id FROM svc_entitlement e
			WHERE used_amount <> (SELECT coalesce(sum(amount), 0) FROM svc_entitlement_ledger l
								  WHERE l.customer_id = e.customer_id AND l.entitlement_id = e.id)
			UNION ALL
			SELECT customer_id, entity_id FROM svc_event
			GROUP BY customer_id, noun, entity_id HAVING max(revision) <> count(*)
			UNION ALL
			SELECT min(customer_id), id::text FROM svc_event GROUP BY id HAVING count(*) > 1}),
		'', "$db: used amounts are the ledger's sums, and revisions and events are whole");
}
