# Dump and restore lose nothing, double nothing, and leave a working database.
#
# psql cannot show this: it takes pg_dump and pg_restore, several databases and
# a second cluster.  A restore inserts rows into tables with triggers that
# number revisions and write events; it must not do so a second time.  What the
# users have added to the tables must survive as well.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('one');
my $other = new_cluster('two');
my $dir = PostgreSQL::Test::Utils::tempdir;

my $SV002 = qr/ERROR:  SV002: .*\n(?:.*\n)*?HINT:  .*svc_install\(\)/;

# The extension is not in public, so that a restore, which runs with an empty
# search_path, has to find everything by itself.
my $CREATE = q{
	CREATE SCHEMA crm;
	CREATE EXTENSION svc SCHEMA crm;
	SELECT crm.svc_install();
};

# What a user adds to the tables of svc.
my $CUSTOMIZE = q{
	ALTER TABLE crm.svc_customer ADD COLUMN account_manager text DEFAULT 'nobody';
	ALTER TABLE crm.svc_customer ADD COLUMN email_domain text;
	CREATE INDEX customer_by_domain ON crm.svc_customer (email_domain);
	CREATE TABLE audit (id bigserial PRIMARY KEY, customer_id text, what text);
	CREATE TABLE project (
		id integer PRIMARY KEY,
		customer_id text COLLATE "C" NOT NULL REFERENCES crm.svc_customer (id),
		title text);
	CREATE FUNCTION set_domain() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		NEW.email_domain := split_part(NEW.email, '@', 2);
		RETURN NEW;
	END $$;
	CREATE FUNCTION audit_customer() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.audit (customer_id, what) VALUES (NEW.id, TG_OP || ' ' || NEW.status);
		RETURN NULL;
	END $$;
	GRANT USAGE ON SCHEMA public TO svc_owner;
	GRANT INSERT ON audit TO svc_owner;
	GRANT USAGE ON SEQUENCE audit_id_seq TO svc_owner;
	CREATE TRIGGER set_domain BEFORE INSERT OR UPDATE ON crm.svc_customer
		FOR EACH ROW EXECUTE FUNCTION set_domain();
	CREATE TRIGGER audit_customer AFTER INSERT OR UPDATE ON crm.svc_customer
		FOR EACH ROW EXECUTE FUNCTION audit_customer();
	GRANT USAGE ON SCHEMA crm TO app;
	GRANT EXECUTE ON FUNCTION crm.svc_consume_entitlement(
		text, text, numeric, text, text, timestamptz, jsonb) TO app;
};

my $FILL = q{
	SET search_path = crm, public;
	SET svc.actor = 'the filling';
	SELECT svc_create_customer(jsonb_build_object(
		'id', 'c' || n, 'name', E'Ada \\ "the ' || n || E'.\\"\t\U0001F600', 'status', 'active',
		'email', 'ada@example' || n || '.com', 'attributes', jsonb_build_object('n', n, 'deep', '[1, {}]'::jsonb)))
	FROM generate_series(1, 200) n;
	UPDATE svc_customer SET account_manager = 'Bob', risk_level = 'high' WHERE id = 'c3';
	UPDATE svc_customer SET status = 'suspended' WHERE id = 'c4';
	UPDATE svc_customer SET status = 'churned' WHERE id IN ('c4', 'c5');
	INSERT INTO project SELECT n, 'c' || n, 'project' FROM generate_series(1, 50) n;

	-- stacked, and split by a consume
	SELECT svc_grant_entitlement('c1', 'api_calls', 5, id => 'plan'),
		   svc_grant_entitlement('c1', 'api_calls', 2.5, priority => 1, id => 'promotion',
								 source => 'promotion', source_id => 'p1', valid_until => 'infinity');
	SELECT svc_consume_entitlement('c1', 'api_calls', 3.25, 'key 1', metadata => '{"job": [1, null]}');
	SELECT svc_consume_entitlement('c1', 'api_calls', 1);
	-- exhausted, suspended, revoked, unlimited, not metered
	SELECT svc_grant_entitlement('c2', 'exports', 2, id => 'spent'),
		   svc_grant_entitlement('c2', 'emails', 3, id => 'emails'),
		   svc_grant_entitlement('c2', 'seats', 3, id => 'paused'),
		   svc_grant_entitlement('c2', 'seats', 3, id => 'gone'),
		   svc_grant_entitlement('c2', 'storage', unlimited => true, id => 'boundless'),
		   svc_grant_entitlement('c2', 'sso', value => '{"provider": "any"}', id => 'sso');
	SELECT svc_consume_entitlement('c2', 'exports', 2, 'key 2');
	SELECT svc_consume_entitlement('c2', 'emails', 2);
	SELECT svc_consume_entitlement('c2', 'seats');
	SELECT svc_consume_entitlement('c2', 'storage', 1e30);
	UPDATE svc_entitlement SET status = 'suspended' WHERE id = 'paused';
	UPDATE svc_entitlement SET status = 'revoked' WHERE id = 'gone';
	UPDATE svc_entitlement SET limit_amount = 6, description = 'more' WHERE id = 'plan';
	-- many, with made ids
	SELECT svc_grant_entitlement('c' || n, 'api_calls', 10) FROM generate_series(6, 200) n;
	SELECT svc_consume_entitlement('c' || n, 'api_calls', n % 10 + 1, 'key ' || n)
	FROM generate_series(6, 200) n;

	-- a segment in real time, and who was put in and taken out by hand
	SELECT svc_create_segment('{"id": "late", "name": "Late", "criteria": {"attributes.n": {"$gt": 190}}}'),
		   svc_add_segment_customer('late', 'c7'), svc_remove_segment_customer('late', 'c200');
};

# ---- the source ----

$node->safe_psql('postgres', 'CREATE ROLE app');
create_db($node, 'source');
$node->safe_psql('source', $CREATE . $CUSTOMIZE . $FILL);

my $rows = rows_of($node, 'source');
my $shape = shape_of($node, 'source');
my $events = $node->safe_psql('source', 'SELECT count(*) FROM crm.svc_event');

note join("\n", map { "$_: $rows->{$_}" } sort keys %$rows);
cmp_ok($events, '>', 400, 'the source has events');
is($node->safe_psql('source', 'SELECT count(*) FROM crm.svc_entitlement_ledger WHERE line = 1'),
	1, 'and a split consume');

dump_db('whole.sql', '--format=plain');
dump_db('whole.dump', '--format=custom');
dump_db('data.sql', '--format=plain', '--data-only');
dump_db('data.dump', '--format=custom', '--data-only');
is_deeply(rows_of($node, 'source'), $rows, 'dumping changes nothing');

# ---- whole databases ----

create_db($node, 'by_psql');
restore_sql($node, 'by_psql', 'whole.sql');
check_restored($node, 'by_psql');
check_alive($node, 'by_psql');

create_db($node, 'by_pg_restore');
restore_archive($node, 'by_pg_restore', 'whole.dump');
check_restored($node, 'by_pg_restore');
check_alive($node, 'by_pg_restore');

# ---- another cluster ----
#
# Roles are not part of a database: they are made first, as after any dump.

command_ok([ 'pg_dumpall', '--roles-only', '-f', "$dir/roles.sql", '-d', $node->connstr('postgres') ],
	'the roles are dumped');
$other->psql('postgres', slurp_file("$dir/roles.sql"), on_error_stop => 0);
is($other->safe_psql('postgres', "SELECT count(*) FROM pg_roles WHERE rolname IN ('app', 'svc_owner')"),
	2, 'and restored in the other cluster');
isnt(cluster_of($other), cluster_of($node), 'which is another one');

create_db($other, 'moved');
restore_archive($other, 'moved', 'whole.dump');
check_restored($other, 'moved');
check_alive($other, 'moved');
is($other->safe_psql('moved', "SELECT count(*) FROM crm.svc_event WHERE cluster = " . cluster_of($node)),
	$events, 'moved: restored events still name the cluster that wrote them');

# ---- data only, into tables that svc_install() has made ----
#
# With the user's AFTER trigger in place, only --disable-triggers keeps it from
# auditing the restored rows; that is PostgreSQL's way, and ours need no such
# help.

create_db($node, 'data_by_psql');
$node->safe_psql('data_by_psql', $CREATE . $CUSTOMIZE . 'DROP TRIGGER audit_customer ON crm.svc_customer');
restore_sql($node, 'data_by_psql', 'data.sql');
check_rows($node, 'data_by_psql', 'crm.svc_meta');
$node->safe_psql('data_by_psql', $CUSTOMIZE =~ /(CREATE TRIGGER audit_customer[^;]*)/);
check_alive($node, 'data_by_psql');

create_db($node, 'data_by_pg_restore');
$node->safe_psql('data_by_pg_restore', $CREATE . $CUSTOMIZE);
restore_archive($node, 'data_by_pg_restore', 'data.dump', '--disable-triggers');
check_rows($node, 'data_by_pg_restore', 'crm.svc_meta');
check_alive($node, 'data_by_pg_restore');

# ---- without owners, by a superuser ----
#
# Then the tables are the superuser's, and functions of svc refuse to run as
# him until svc_install() has given the tables to svc_owner.

create_db($node, 'ownerless');
restore_archive($node, 'ownerless', 'whole.dump', '--no-owner');
check_rows($node, 'ownerless');
for my $call (
	"SELECT * FROM crm.svc_check_entitlement('c1', 'api_calls')",
	"SELECT * FROM crm.svc_consume_entitlement('c1', 'api_calls')",
	"UPDATE crm.svc_customer SET status = 'churned' WHERE id = 'c1'")
{
	like(error_of($node, 'ownerless', $call), $SV002, "ownerless: SV002: $call");
}
check_rows($node, 'ownerless');
$node->safe_psql('ownerless', 'SELECT crm.svc_install()');
check_rows($node, 'ownerless', 'crm.svc_meta');
is(shape_of($node, 'ownerless'), $shape, 'ownerless: svc_install() has given the tables to svc_owner');
check_alive($node, 'ownerless');

# ---- without the extension, for a while ----

create_db($node, 'dropped');
restore_archive($node, 'dropped', 'whole.dump');
like(error_of($node, 'dropped', 'DROP EXTENSION svc'),
	qr/ERROR:  2BP01: /, 'dropped: DROP EXTENSION is refused while there are tables');
is(shape_of($node, 'dropped'), $shape, 'dropped: and has dropped nothing');
$node->safe_psql('dropped', 'SET client_min_messages = error; DROP EXTENSION svc CASCADE');
check_rows($node, 'dropped');
unlike(shape_of($node, 'dropped'), qr/EXECUTE FUNCTION crm|crm\.svc_new_id\('/,
	'dropped: triggers and defaults are gone');

$node->safe_psql('dropped', 'CREATE EXTENSION svc SCHEMA crm');
like(
	error_of($node, 'dropped',
		"BEGIN; SELECT * FROM crm.svc_consume_entitlement('c1', 'api_calls'); ROLLBACK"),
	$SV002,
	'dropped: no consume before svc_install() has put the triggers back');
$node->safe_psql('dropped', 'SELECT crm.svc_install()');
check_rows($node, 'dropped', 'crm.svc_meta');
is(shape_of($node, 'dropped'), $shape, 'dropped: triggers and defaults are back');
$node->safe_psql('dropped', 'GRANT EXECUTE ON FUNCTION crm.svc_consume_entitlement('
	. 'text, text, numeric, text, text, timestamptz, jsonb) TO app');
check_alive($node, 'dropped');

# ---- a dump of a restored and used database ----

dump_db_of($node, 'dropped', 'again.dump', '--format=custom');
$rows = rows_of($node, 'dropped');
create_db($node, 'again');
restore_archive($node, 'again', 'again.dump');
check_restored($node, 'again');

$node->stop;
$other->stop;
done_testing();

# ---- what the tests above are made of ----

sub new_cluster
{
	my $cluster = PostgreSQL::Test::Cluster->new($_[0]);

	$cluster->init;
	$cluster->start;
	return $cluster;
}

# template0, as for any restore: it has nothing that the dump brings along.
sub create_db
{
	my ($cluster, $db) = @_;

	$cluster->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0");
}

sub dump_db { return dump_db_of($node, 'source', @_); }

sub dump_db_of
{
	my ($cluster, $db, $file, @options) = @_;

	command_ok([ 'pg_dump', @options, '-f', "$dir/$file", '-d', $cluster->connstr($db) ],
		"$db is dumped to $file");
}

sub restore_sql
{
	my ($cluster, $db, $file) = @_;
	my (undef, undef, $stderr) = $cluster->psql($db, "\\i $dir/$file\n", on_error_stop => 0);

	is($stderr, '', "$db: $file is restored without complaint");
}

# All tables at once, children perhaps before their parents.
sub restore_archive
{
	my ($cluster, $db, $file, @options) = @_;

	my (undef, $stderr) = run_command(
		[ 'pg_restore', '-j4', @options, '-d', $cluster->connstr($db), "$dir/$file" ]);

	is($stderr, '', "$db: $file is restored in parallel without complaint");
}

sub cluster_of
{
	return $_[0]->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()');
}

# SQLSTATE, message, detail and hint of a statement that fails.
sub error_of
{
	my ($cluster, $db, $sql) = @_;
	my (undef, undef, $stderr) = $cluster->psql($db, "\\set VERBOSITY verbose\n$sql", on_error_stop => 0);

	return $stderr;
}

# Table => number and digest of its rows, for all tables, also the user's.
sub rows_of
{
	my ($cluster, $db) = @_;
	my @tables = split /\n/, $cluster->safe_psql($db, q{
		SELECT c.oid::regclass FROM pg_class c
		WHERE relkind = 'r' AND relnamespace IN ('crm'::regnamespace, 'public'::regnamespace)});
	my %rows;

	$rows{$_} = $cluster->safe_psql($db, qq{
		SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE "C")) FROM $_ t})
	  for @tables;
	return \%rows;
}

# Everything about the tables but their rows.
sub shape_of
{
	my ($cluster, $db) = @_;

	return $cluster->safe_psql($db, q{
		WITH ours AS (
			SELECT * FROM pg_class
			WHERE relkind IN ('r', 'S') AND relnamespace IN ('crm'::regnamespace, 'public'::regnamespace))
		SELECT format('%s %s: %s %s %s %s', relkind, oid::regclass, relowner::regrole,
					  (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(relacl) a),
					  reloptions, obj_description(oid, 'pg_class'))
		FROM ours
		UNION ALL
		SELECT format('%s.%s: %s %s %s %s %s', attrelid::regclass, attname,
					  format_type(atttypid, atttypmod), attcollation::regcollation, attnotnull,
					  pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
		FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
		WHERE attrelid IN (SELECT oid FROM ours) AND attnum > 0 AND NOT attisdropped
		UNION ALL
		SELECT format('%s: %s', conrelid::regclass, pg_get_constraintdef(oid))
		FROM pg_constraint WHERE conrelid IN (SELECT oid FROM ours)
		UNION ALL
		SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid IN (SELECT oid FROM ours)
		UNION ALL
		SELECT pg_get_triggerdef(oid) || tgenabled::text FROM pg_trigger
		WHERE tgrelid IN (SELECT oid FROM ours) AND NOT tgisinternal
		UNION ALL
		SELECT format('%s.%s owns %s', refobjid::regclass, refobjsubid, objid::regclass)
		FROM pg_depend WHERE objid IN (SELECT oid FROM ours) AND deptype = 'a'
		ORDER BY 1});
}

# The rows, all but those of the tables named.
sub check_rows
{
	my ($cluster, $db, @but) = @_;
	my ($got, $want) = (rows_of($cluster, $db), { %$rows });

	delete @$got{@but};
	delete @$want{@but};
	is_deeply($got, $want, "$db: the rows are those of the source") or diag explain $got;
}

sub check_restored
{
	my ($cluster, $db) = @_;

	check_rows($cluster, $db);
	is(shape_of($cluster, $db), $shape, "$db: and so are columns, indexes, triggers, owners");
}

# The database goes on where the source was.
sub check_alive
{
	my ($cluster, $db) = @_;
	my $sql = sub { return $cluster->safe_psql($db, "SET search_path = crm, public; $_[0]"); };
	my $last_id = $sql->('SELECT max(id) FROM svc_event');
	my $count = $sql->('SELECT count(*) FROM svc_event');

	is( $sql->(q{
			SET ROLE app;
			SELECT allowed, remaining, consumed, entitlement_id, replayed
			FROM svc_consume_entitlement('c1', 'api_calls', 3.25, 'key 1')}),
		't|4.25|3.25|promotion|t', "$db: an old key is replayed");
	like(
		error_of($cluster, $db, "SELECT crm.svc_consume_entitlement('c1', 'api_calls', 1, 'key 1')"),
		qr/ERROR:  SV004: /, "$db: and refused for another request");
	is( $sql->(q{
			SET ROLE app;
			SELECT allowed, reason, remaining, consumed, replayed
			FROM svc_consume_entitlement('c1', 'api_calls', 1, 'key of the restored')}),
		't|ok|3.25|1|f', "$db: a new call consumes from where the source was");
	is($sql->("SELECT allowed, reason FROM svc_consume_entitlement('c2', 'exports')"),
		'f|limit_exceeded', "$db: what was exhausted is");
	is($sql->('SELECT count(*) FROM svc_event'), $count, "$db: so far no event");

	is($sql->("SELECT allowed, remaining FROM svc_consume_entitlement('c2', 'emails')"),
		't|0', "$db: the last unit is consumed");
	$sql->("UPDATE svc_customer SET status = 'churned', email = 'ada\@new.com' WHERE id = 'c1'");
	like(error_of($cluster, $db, "UPDATE crm.svc_customer SET status = 'active' WHERE id = 'c4'"),
		qr/ERROR:  SV001: /, "$db: a forbidden change of status is refused");
	is( $sql->(q{
			SELECT svc_create_customer('{"name": "Eve"}') ~ '^cus_',
				   (SELECT email_domain FROM svc_customer WHERE id = 'c1'),
				   (SELECT what FROM audit ORDER BY id DESC LIMIT 1)}),
		't|new.com|UPDATE churned', "$db: defaults and the user's triggers work");
	is( $sql->(qq{
			SELECT noun, entity_id, revision, event, from_status, to_status
			FROM svc_event WHERE id > $last_id AND entity_id !~ '^cus_' ORDER BY id}),
		"entitlement|emails|2|consumed|active|exhausted\n"
		  . "entitlement|emails|3|exhausted|exhausted|exhausted\n"
		  . "customer|c1|2|churned|active|churned",
		"$db: ids and revisions of the events go on above the restored ones");
	is( $sql->("SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE id > $last_id AND cluster = "
			  . cluster_of($cluster) . ') FROM svc_event'),
		join('|', $count + 4, $count + 4, 4), "$db: four new ones, of this cluster");
	is( $sql->(q{
			SELECT e.customer_id, e.id FROM svc_entitlement e
			WHERE used_amount <> (SELECT coalesce(sum(amount), 0) FROM svc_entitlement_ledger l
								  WHERE l.customer_id = e.customer_id AND l.entitlement_id = e.id)
			   OR ledger_seq <> (SELECT count(*) FROM svc_entitlement_ledger l
								 WHERE l.customer_id = e.customer_id AND l.entitlement_id = e.id)
			UNION ALL
			SELECT customer_id, entity_id FROM svc_event
			GROUP BY customer_id, noun, entity_id HAVING max(revision) <> count(*)}),
		'', "$db: ledger and revisions are whole");
	$sql->(q{SELECT svc_update_customer('c8', '{"attributes": {"n": 999}}'), svc_update_customer('c199', '{"attributes": {"n": 1}}'),
		svc_update_customer('c200', '{"attributes": {"n": 1000}}')});
	is( $sql->(q{
			SELECT customer_count, (SELECT string_agg(customer_id, ' ' ORDER BY length(customer_id), customer_id) FROM svc_segment_member)
			FROM svc_customer_segment}),
		'10|c7 c8 c191 c192 c193 c194 c195 c196 c197 c198', "$db: the segment follows, and what was done by hand holds");
}
