-- Promise: whatever is done to invoices in whatever order, refused or rolled
-- back, by functions or by plain SQL, their money adds up: nothing is paid
-- twice, lost, or given back unpaid, the status says what the amounts say, and
-- the numbers run 1, 2, 3 ... in the order of finalizing.
--
-- 300 invoices, 24 pseudo-random operations each, mixed; the test keeps books
-- of its own and compares.
\set SHOW_CONTEXT never
CREATE SCHEMA svc;
CREATE EXTENSION svc SCHEMA svc;
SET client_min_messages = warning;
SET search_path = svc;
SELECT svc_install() \g /dev/null
SELECT svc_create_customer('{"id": "c1", "name": "Ada"}'), svc_create_customer('{"id": "c2", "name": "Bob"}') \g /dev/null

-- the test's own books
CREATE TEMP TABLE book (customer_id text, id text, total numeric, paid numeric DEFAULT 0, refunded numeric DEFAULT 0,
                        payments int DEFAULT 0, number int, PRIMARY KEY (customer_id, id));
CREATE TEMP TABLE tried (op text, sqlstate text, status text);
SELECT setseed(0.42) \g /dev/null

INSERT INTO book (customer_id, id, total)
SELECT 'c' || 1 + n % 2, 'i' || n, CASE WHEN n % 20 = 0 THEN 0 ELSE round((random() * 50)::numeric + 0.01, 2) END
FROM generate_series(1, 300) n;
-- a third of them with a total that is computed
SELECT count(svc_create_invoice(customer_id, CASE WHEN substr(id, 2)::int % 3 = 0
    THEN jsonb_build_object('id', id, 'subtotal', total + 3, 'discount', 5, 'tax', 2) ELSE jsonb_build_object('id', id, 'total', total) END))
FROM book;

-- one operation on one invoice; false when it was refused
CREATE FUNCTION try(op text, c text, i text, amount numeric, undo boolean) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    was text := (SELECT status FROM svc_invoice WHERE customer_id = c AND id = i);
BEGIN
    CASE op
        WHEN 'finalize' THEN PERFORM svc_finalize_invoice(c, i);
        WHEN 'send' THEN PERFORM svc_send_invoice(c, i);
        WHEN 'pay' THEN PERFORM svc_pay_invoice(c, i, amount);
        WHEN 'pay all' THEN PERFORM svc_pay_invoice(c, i);
        WHEN 'refund' THEN PERFORM svc_refund_invoice(c, i, amount);
        WHEN 'refund all' THEN PERFORM svc_refund_invoice(c, i);
        WHEN 'void' THEN PERFORM svc_void_invoice(c, i);
        WHEN 'overdue' THEN
            UPDATE svc_invoice SET due_date = '2020-01-01Z' WHERE customer_id = c AND id = i;
            PERFORM svc_mark_overdue_invoice(c, i);
        WHEN 'uncollectible' THEN PERFORM svc_mark_uncollectible_invoice(c, i);
        WHEN 'update' THEN PERFORM svc_update_invoice(c, i, jsonb_build_object('description', amount::text));
        WHEN 'plain finalize' THEN UPDATE svc_invoice SET status = 'open' WHERE customer_id = c AND id = i;
        WHEN 'plain payment' THEN UPDATE svc_invoice SET amount_paid = amount_paid + amount WHERE customer_id = c AND id = i;
        WHEN 'plain paid' THEN UPDATE svc_invoice SET status = 'paid' WHERE customer_id = c AND id = i;
        WHEN 'plain part' THEN UPDATE svc_invoice SET status = 'partial', amount_paid = amount_paid + amount WHERE customer_id = c AND id = i;
        WHEN 'plain less' THEN UPDATE svc_invoice SET amount_paid = greatest(amount_paid - amount, 0) WHERE customer_id = c AND id = i;
        WHEN 'plain void' THEN UPDATE svc_invoice SET status = 'void' WHERE customer_id = c AND id = i;
        WHEN 'plain overdue' THEN UPDATE svc_invoice SET status = 'overdue', due_date = '2020-01-01Z', amount_paid = amount_paid + amount WHERE customer_id = c AND id = i;
    END CASE;
    IF undo THEN
        RAISE EXCEPTION USING ERRCODE = 'P0099';
    END IF;
    INSERT INTO tried VALUES (op, '00000', was);
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    INSERT INTO tried VALUES (op, SQLSTATE, was);
    RETURN false;
END $$;

DO $$
DECLARE
    ops CONSTANT text[] := ARRAY['finalize', 'finalize', 'finalize', 'finalize', 'send', 'send', 'pay', 'pay', 'pay', 'pay', 'pay all', 'refund', 'refund',
        'refund all', 'void', 'overdue', 'overdue', 'uncollectible', 'uncollectible', 'update', 'plain finalize', 'plain payment', 'plain paid', 'plain part',
        'plain less', 'plain void', 'plain overdue'];
    b book;
    op text;
    amount numeric;
    undo boolean;
    was text;
    numbers int := 0;
BEGIN
    FOR n IN 1 .. 7200 LOOP
        SELECT * INTO STRICT b FROM book OFFSET floor(random() * 300) LIMIT 1;
        op := ops[1 + floor(random() * cardinality(ops))];
        -- often exactly what is due or was paid, sometimes too much
        amount := greatest(0.01, CASE floor(random() * 6)
                  WHEN 0 THEN b.total - b.paid WHEN 1 THEN b.paid - b.refunded WHEN 2 THEN b.total - b.paid + 0.01
                  ELSE round((random() * 20)::numeric, 2) END);
        undo := random() < 0.1;
        was := (SELECT status FROM svc_invoice WHERE customer_id = b.customer_id AND id = b.id);
        CONTINUE WHEN NOT try(op, b.customer_id, b.id, amount, undo);
        IF op IN ('finalize', 'plain finalize') AND was = 'draft' THEN
            numbers := numbers + 1;
            b.number := numbers;
        ELSIF op = 'pay' OR op LIKE 'plain p%t' OR op = 'plain overdue' THEN
            b.paid := b.paid + amount;
            b.payments := b.payments + (op = 'pay')::int;
        ELSIF op = 'pay all' OR op = 'plain paid' AND was <> 'paid' THEN
            b.paid := b.total;
            b.payments := b.payments + (op = 'pay all')::int;
        ELSIF op = 'plain less' THEN
            b.paid := greatest(b.paid - amount, 0);
        ELSIF op = 'refund' THEN
            b.refunded := b.refunded + amount;
        ELSIF op = 'refund all' THEN
            b.refunded := b.paid;
        END IF;
        UPDATE book SET paid = b.paid, refunded = b.refunded, payments = b.payments, number = b.number
        WHERE customer_id = b.customer_id AND id = b.id;
    END LOOP;
END $$;

-- it was a real mixture: each function was done, refused and undone, and all
-- statuses have occurred
SELECT op FROM tried WHERE op !~ 'plain' GROUP BY op
HAVING count(*) FILTER (WHERE sqlstate = '00000') < 10
    OR count(*) FILTER (WHERE sqlstate = 'P0099') < 3
    OR op <> 'update' AND count(*) FILTER (WHERE sqlstate NOT IN ('00000', 'P0099')) < 3;
SELECT string_agg(DISTINCT status, ' ' ORDER BY status) FROM tried;
-- nothing was refused by accident
SELECT op, sqlstate, count(*) FROM tried WHERE sqlstate NOT IN ('00000', 'P0099', 'SV001', 'SV013')
                                           AND NOT (op ~ 'plain' AND sqlstate IN ('SV006', '23514')) GROUP BY 1, 2;

-- what must hold of every invoice: no rows
SELECT customer_id, id, status, total, amount_due, amount_paid, amount_refunded FROM svc_invoice
WHERE amount_due <> CASE status WHEN 'void' THEN 0 ELSE total - amount_paid END
   OR NOT (0 <= amount_refunded AND amount_refunded <= amount_paid AND amount_paid <= total);
SELECT customer_id, id, status, total, amount_due, amount_paid, amount_refunded FROM svc_invoice
WHERE status <> 'void' AND total > 0 AND (status = 'paid') <> (amount_due = 0);
SELECT customer_id, id, status, total, amount_due, amount_paid, amount_refunded FROM svc_invoice
WHERE CASE status WHEN 'draft' THEN amount_paid <> 0 OR number IS NOT NULL
                  WHEN 'void' THEN amount_paid <> amount_refunded
                  WHEN 'partial' THEN amount_paid = 0 OR amount_paid >= total
                  WHEN 'open' THEN amount_paid <> 0 WHEN 'sent' THEN amount_paid <> 0 END
   OR (paid_at IS NOT NULL) <> (status = 'paid')
   OR (issued_at IS NULL) <> (number IS NULL);
-- the books agree: no rows
SELECT b.*, i.status, i.total AS i_total, i.amount_paid, i.amount_refunded
FROM book b JOIN svc_invoice i USING (customer_id, id)
WHERE (b.total, b.paid, b.refunded) <> (i.total, i.amount_paid, i.amount_refunded);
SELECT sum(b.paid - b.refunded) = sum(i.amount_paid - i.amount_refunded) AS money_conserved
FROM book b JOIN svc_invoice i USING (customer_id, id);
-- and numbers are gapless, in the order of finalizing: no rows
SELECT b.customer_id, b.id, b.number, i.number FROM book b JOIN svc_invoice i USING (customer_id, id)
WHERE i.number IS DISTINCT FROM 'INV-' || lpad(b.number::text, 6, '0');
SELECT count(number) > 150 AS most, count(number) = max(number) AS gapless, count(DISTINCT number) = count(number) AS once FROM book;
SELECT value = (SELECT max(number) FROM book) AS counter_agrees FROM svc_counter;
-- each payment has its event, and the amounts in the events add up
SELECT b.customer_id, b.id FROM book b JOIN svc_invoice i USING (customer_id, id)
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE event IN ('paid', 'partiallyPaid')) AS payments, max(revision) AS revision, count(*) AS events,
           sum((changes -> 'amount_paid' ->> 'new')::numeric - (changes -> 'amount_paid' ->> 'old')::numeric) AS paid,
           sum((changes -> 'amount_refunded' ->> 'new')::numeric - (changes -> 'amount_refunded' ->> 'old')::numeric) AS refunded
    FROM svc_event e WHERE e.noun = 'invoice' AND (e.customer_id, e.entity_id) = (b.customer_id, b.id)) e ON true
WHERE e.payments < b.payments OR e.revision <> i.revision OR e.events <> i.revision
   OR coalesce(e.paid, 0) <> b.paid OR coalesce(e.refunded, 0) <> b.refunded;

-- the biggest and the smallest amounts stay exact
SELECT svc_create_invoice('c1', '{"id": "big", "total": 999999999999999999999999999999999999.999999999999999999}') \g /dev/null
SELECT svc_finalize_invoice('c1', 'big'), svc_pay_invoice('c1', 'big', 0.000000000000000001);
SELECT amount_due, amount_paid FROM svc_invoice WHERE id = 'big';
SELECT svc_pay_invoice('c1', 'big');
SELECT svc_refund_invoice('c1', 'big', 999999999999999999999999999999999999.999999999999999998);
SELECT amount_due, amount_paid, amount_refunded, amount_paid - amount_refunded AS kept FROM svc_invoice WHERE id = 'big';
-- NULL pays what is due, also in parts
SELECT svc_create_invoice('c1', '{"id": "parts", "total": 3}') \g /dev/null
SELECT svc_finalize_invoice('c1', 'parts') \g /dev/null
SELECT svc_pay_invoice('c1', 'parts', 1), svc_pay_invoice('c1', 'parts', 1), svc_update_invoice('c1', 'parts', '{"due_date": "2020-01-01Z"}'),
       svc_mark_overdue_invoice('c1', 'parts'),
       svc_pay_invoice('c1', 'parts', 0.5), svc_mark_uncollectible_invoice('c1', 'parts'), svc_pay_invoice('c1', 'parts');
SELECT revision, event, from_status, to_status, changes -> 'amount_paid' AS amount_paid, changes -> 'amount_due' AS amount_due
FROM svc_event WHERE entity_id = 'parts' ORDER BY revision;

DROP SCHEMA svc CASCADE;
