-- Segments of customers, and who is in them.
CREATE TABLE IF NOT EXISTS @schema@.svc_customer_segment (
    id text COLLATE "C" PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 255),
    status text NOT NULL DEFAULT 'active'
        CHECK (status IN ('active', 'inactive', 'archived')),
    revision bigint NOT NULL CHECK (revision >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    parent_segment_id text COLLATE "C" REFERENCES @schema@.svc_customer_segment (id) CHECK (parent_segment_id <> id),
    priority numeric NOT NULL DEFAULT 0,
    automated boolean NOT NULL,
    targetable boolean,
    customer_count bigint NOT NULL DEFAULT 0 CHECK (customer_count >= 0),
    percent_of_total numeric,
    total_revenue numeric,
    avg_revenue numeric,
    avg_lifetime_value numeric,
    avg_engagement_score numeric,
    avg_usage numeric,
    churn_rate numeric,
    last_synced_at timestamptz,
    sync_frequency text CHECK (sync_frequency IN ('realtime', 'hourly', 'daily', 'weekly')),
    name text NOT NULL,
    slug text COLLATE "C",
    description text,
    type text NOT NULL DEFAULT 'custom',
    criteria jsonb,
    criteria_description text
);
ALTER TABLE @schema@.svc_customer_segment ALTER COLUMN id SET DEFAULT @schema@.svc_new_id('seg');
CREATE UNIQUE INDEX IF NOT EXISTS svc_customer_segment_slug ON @schema@.svc_customer_segment (slug);
CREATE INDEX IF NOT EXISTS svc_customer_segment_parent ON @schema@.svc_customer_segment (parent_segment_id);

CREATE TABLE IF NOT EXISTS @schema@.svc_segment_member (
    customer_id text COLLATE "C" NOT NULL REFERENCES @schema@.svc_customer (id),
    segment_id text COLLATE "C" NOT NULL REFERENCES @schema@.svc_customer_segment (id),
    added_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, segment_id)
);
CREATE INDEX IF NOT EXISTS svc_segment_member_segment ON @schema@.svc_segment_member (segment_id);

CREATE TABLE IF NOT EXISTS @schema@.svc_segment_override (
    customer_id text COLLATE "C" NOT NULL REFERENCES @schema@.svc_customer (id),
    segment_id text COLLATE "C" NOT NULL REFERENCES @schema@.svc_customer_segment (id),
    included boolean NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, segment_id)
);
CREATE INDEX IF NOT EXISTS svc_segment_override_segment ON @schema@.svc_segment_override (segment_id);

-- (without foreign keys: it is svc's own list of what to look at)
CREATE TABLE IF NOT EXISTS @schema@.svc_segment_timer (
    customer_id text COLLATE "C" NOT NULL,
    segment_id text COLLATE "C" NOT NULL,
    due_at timestamptz NOT NULL,
    PRIMARY KEY (customer_id, segment_id)
);
CREATE INDEX IF NOT EXISTS svc_segment_timer_due ON @schema@.svc_segment_timer (due_at);
CREATE INDEX IF NOT EXISTS svc_segment_timer_segment ON @schema@.svc_segment_timer (segment_id);

COMMENT ON TABLE @schema@.svc_customer_segment IS 'Groups of customers; a small table.';
COMMENT ON COLUMN @schema@.svc_customer_segment.revision IS 'Number of the segment''s last event; set by svc.';
COMMENT ON COLUMN @schema@.svc_customer_segment.priority IS 'Which segment is a customer''s first: the one with the greatest priority.';
COMMENT ON COLUMN @schema@.svc_customer_segment.customer_count IS 'Number of members; set by svc, as are all figures up to last_synced_at.';
COMMENT ON COLUMN @schema@.svc_customer_segment.percent_of_total IS 'Members in percent of all customers.';
COMMENT ON COLUMN @schema@.svc_customer_segment.churn_rate IS 'Churned members in percent of all members.';
COMMENT ON COLUMN @schema@.svc_customer_segment.parent_segment_id IS 'The segment that this one is within: who is not in it is not in this one.';
COMMENT ON COLUMN @schema@.svc_customer_segment.criteria IS 'Who is in it, as a document of svc_criteria.';
COMMENT ON COLUMN @schema@.svc_customer_segment.criteria_description IS 'The criteria in words; written by svc unless somebody else does.';
COMMENT ON COLUMN @schema@.svc_customer_segment.automated IS 'Whether criteria decide on who is in it; null on insert means when there are some.';
COMMENT ON COLUMN @schema@.svc_customer_segment.sync_frequency IS 'When the members follow the criteria: realtime, the default, as soon as a customer changes; else every hour, day or week, by svc_run_due().';
COMMENT ON COLUMN @schema@.svc_customer_segment.last_synced_at IS 'When svc_sync_segment() or svc_run_due() has looked at all customers last; set by svc. Null: it is to be done.';
COMMENT ON COLUMN @schema@.svc_customer_segment.avg_usage IS 'Mean of usage_percent of the members'' grants.';
COMMENT ON TABLE @schema@.svc_segment_override IS 'Who was put into a segment, or taken out of it, by hand, whatever its criteria say; written by svc.';
COMMENT ON TABLE @schema@.svc_segment_timer IS 'When time alone may bring a customer into a segment, or out of it; written by svc.';
COMMENT ON TABLE @schema@.svc_segment_member IS 'Which customer is in which segment; written by svc.';
