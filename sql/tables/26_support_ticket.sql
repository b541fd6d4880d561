-- Support tickets of customers.
CREATE TABLE IF NOT EXISTS @schema@.svc_support_ticket (
    customer_id text COLLATE "C" NOT NULL REFERENCES @schema@.svc_customer (id),
    id text COLLATE "C" NOT NULL CHECK (length(id) BETWEEN 1 AND 255),
    status text NOT NULL DEFAULT 'new'
        CHECK (status IN ('new', 'open', 'pending', 'on-hold', 'escalated', 'solved', 'closed')),
    revision bigint NOT NULL CHECK (revision >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    number text COLLATE "C",
    subject text NOT NULL,
    description text,
    tags text[],
    type text NOT NULL DEFAULT 'question',
    category text,
    priority text NOT NULL DEFAULT 'normal',
    severity text,
    channel text,
    assigned_to text,
    assigned_team text,
    sla_target timestamptz,
    sla_breached boolean NOT NULL DEFAULT false,
    first_response_at timestamptz,
    resolution text,
    resolution_code text,
    resolved_at timestamptz,
    closed_at timestamptz,
    ai_handled boolean,
    ai_suggested_resolution text,
    ai_confidence numeric CHECK (ai_confidence BETWEEN 0 AND 1),
    satisfaction_score numeric CHECK (satisfaction_score >= 0 AND satisfaction_score < 'Infinity'),
    satisfaction_comment text,
    service_id text COLLATE "C",
    incident_id text COLLATE "C",
    PRIMARY KEY (customer_id, id)
);
ALTER TABLE @schema@.svc_support_ticket ALTER COLUMN id SET DEFAULT @schema@.svc_new_id('tic');
CREATE INDEX IF NOT EXISTS svc_support_ticket_number ON @schema@.svc_support_ticket (number);

COMMENT ON TABLE @schema@.svc_support_ticket IS 'What customers have asked, and what became of it.';
COMMENT ON COLUMN @schema@.svc_support_ticket.revision IS 'Number of the ticket''s last event; set by svc.';
COMMENT ON COLUMN @schema@.svc_support_ticket.sla_target IS 'Deadline of the solution.';
COMMENT ON COLUMN @schema@.svc_support_ticket.sla_breached IS 'Whether it was missed; set when the ticket is solved or closed.';
COMMENT ON COLUMN @schema@.svc_support_ticket.first_response_at IS 'When an agent first responded; set by the action respond.';
COMMENT ON COLUMN @schema@.svc_support_ticket.ai_confidence IS '0 to 1.';
COMMENT ON COLUMN @schema@.svc_support_ticket.service_id IS 'The productized service; a key of yours, as incident_id.';
