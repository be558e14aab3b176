package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"seckill"
)

// saleNumbers are the columns of a sale that can be damaged, and its currency. Whoever reads a
// sale reads all of them: tickets are not settled for one that no gate can be rebuilt from.
const saleNumbers = `id, currency, price, list_price, total, sold, limit_per_buyer, opens_at, closes_at, hold_seconds, paused, ended, seq, version, epoch`

// scanNumbers reads saleNumbers, and others behind them.
func scanNumbers(r scanner, s *seckill.Sale, others ...any) error {
	var opens, closes int64
	err := r.Scan(append([]any{&s.ID, &s.Currency, &s.Price, &s.ListPrice, &s.Total, &s.Sold, &s.LimitPerBuyer, &opens, &closes,
		&s.HoldSeconds, &s.Paused, &s.Ended, &s.Seq, &s.Version, &s.Epoch}, others...)...)
	if err != nil {
		return err
	}
	s.OpensAt, s.ClosesAt = fromMS(opens), fromMS(closes)
	if err := s.Check(); err != nil {
		return &damaged{err}
	}
	return nil
}

const saleColumns = saleNumbers + `, title, description, image, access, shelf, notice, (SELECT COUNT(*) FROM retakes r WHERE r.sale = sales.id)`

func (t *tx) scanSale(r scanner) (s seckill.Sale, err error) {
	var retakes int64
	var access string
	err = scanNumbers(r, &s, &s.Title, &s.Description, &s.Image, &access, &s.Shelf, &s.Notice, &retakes)
	if err == nil {
		s.Access = t.accessOf(s.ID, access)
	}
	if retakes > 0 {
		s.LatePayment = seckill.LateRetake
	}
	s.Retired = t.s.settings.Retention > 0 && !t.s.Now().Before(s.ClosesAt.Add(t.s.settings.Retention))
	return s, err
}

// CreateSale writes a new sale and returns it with its id, version 1.
func (s *Store) CreateSale(ctx context.Context, sale seckill.Sale) (seckill.Sale, error) {
	asked, key, print := sale, sale.Key, fingerprint(sale)
	err := s.writeAccess(ctx, "create sale", func(t *tx) error {
		if known, err := t.created(ctx, key, print); err != nil || known.ID != 0 {
			sale = known
			return err
		}
		res, err := t.result(ctx, `INSERT INTO sales (title, description, image, price, list_price, currency, total, limit_per_buyer,
			opens_at, closes_at, hold_seconds, access, paused, shelf, notice) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, sale.Title, sale.Description, sale.Image, sale.Price, sale.ListPrice, sale.Currency, sale.Total,
			sale.LimitPerBuyer, ms(sale.OpensAt), ms(sale.ClosesAt), sale.HoldSeconds, accessText(sale.Access), sale.Paused, sale.Shelf, sale.Notice)
		if err == nil && sale.Access != (seckill.Access{}) {
			err = t.touch(ctx, rulesState)
		}
		if err != nil {
			return err
		}
		id, err := res.LastInsertId()
		if err != nil {
			return err
		}
		if err := t.late(ctx, seckill.SaleID(id), sale.LatePayment); err != nil {
			return err
		}
		if key != "" {
			if _, err := t.exec(ctx, "INSERT INTO creates (name, sale, fingerprint) VALUES (?, ?, ?)", key, id, print); err != nil {
				return err
			}
		}
		err = t.one(ctx, "SELECT "+saleColumns+" FROM sales WHERE id = ?", []any{id}, func(r scanner) (err error) {
			sale, err = t.scanSale(r)
			return err
		})
		if err != nil {
			return err
		}
		if err := t.logged(ctx, "", sale.ID, "", nil, sale); err != nil {
			return err
		}
		return t.widen(ctx, sale)
	})
	if key != "" && errors.Is(err, errDuplicate) { // the same request at the same moment
		return s.CreateSale(ctx, asked)
	}
	return sale, err
}

// fingerprint is that of what somebody asked for as a new sale.
func fingerprint(sale seckill.Sale) string {
	b, _ := json.Marshal(sale)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// created is the sale that was made with a key, none if there is none.
func (t *tx) created(ctx context.Context, key, print string) (sale seckill.Sale, err error) {
	if key == "" {
		return sale, nil
	}
	var id seckill.SaleID
	var was string
	err = t.one(ctx, "SELECT sale, fingerprint FROM creates WHERE name = ?", []any{key}, func(r scanner) error { return r.Scan(&id, &was) })
	switch {
	case err == seckill.ErrNotFound:
		return sale, nil
	case err == nil && was != print:
		return sale, fmt.Errorf("the key %q was used for another sale, %s: %w", key, id, seckill.ErrState)
	case err != nil:
		return sale, err
	}
	err = t.one(ctx, "SELECT "+saleColumns+" FROM sales WHERE id = ?", []any{id}, func(r scanner) (err error) {
		sale, err = t.scanSale(r)
		return err
	})
	return sale, err
}

// widest are the widest terms that a sale s has had, as the table terms, w, has them. A
// sale that a node of an earlier version has made since has those that it has now.
const widest = "COALESCE(w.opens, s.opens_at), COALESCE(w.closes, s.closes_at), COALESCE(w.most, s.limit_per_buyer)"

// widen notes the terms of a version of a sale before its gate can admit by them: by
// themselves, and in the widest ones.
func (t *tx) widen(ctx context.Context, s seckill.Sale) error {
	err := t.one(ctx, "SELECT 1 FROM sale_versions WHERE sale = ? AND version = ?", []any{s.ID, s.Version}, func(scanner) error { return nil })
	if err == seckill.ErrNotFound {
		_, err = t.exec(ctx, "INSERT INTO sale_versions (sale, version, opens, closes, most) VALUES (?, ?, ?, ?, ?)", s.ID, s.Version, ms(s.OpensAt), ms(s.ClosesAt), s.LimitPerBuyer)
	}
	if err != nil {
		return err
	}
	n, err := t.exec(ctx, `UPDATE terms SET opens = CASE WHEN opens < ? THEN opens ELSE ? END, closes = CASE WHEN closes > ? THEN closes ELSE ? END,
		most = CASE WHEN most > ? THEN most ELSE ? END WHERE sale = ?`,
		ms(s.OpensAt), ms(s.OpensAt), ms(s.ClosesAt), ms(s.ClosesAt), s.LimitPerBuyer, s.LimitPerBuyer, s.ID)
	if err != nil || n > 0 {
		return err
	}
	_, err = t.exec(ctx, "INSERT INTO terms (sale, opens, closes, most) VALUES (?, ?, ?, ?)", s.ID, ms(s.OpensAt), ms(s.ClosesAt), s.LimitPerBuyer)
	return err
}

// late writes the rule for late payments of a sale.
func (t *tx) late(ctx context.Context, id seckill.SaleID, rule seckill.LatePayment) error {
	if _, err := t.exec(ctx, "DELETE FROM retakes WHERE sale = ?", id); err != nil || rule != seckill.LateRetake {
		return err
	}
	_, err := t.exec(ctx, "INSERT INTO retakes (sale) VALUES (?)", id)
	return err
}

// Sale returns one sale, or seckill.ErrNotFound.
func (s *Store) Sale(ctx context.Context, id seckill.SaleID) (sale seckill.Sale, err error) {
	err = s.ask(ctx, "sale", func(t *tx) error {
		return t.one(ctx, "SELECT "+saleColumns+" FROM sales WHERE id = ?", []any{id}, func(r scanner) (err error) {
			sale, err = t.scanSale(r)
			return err
		})
	})
	return sale, err
}

// Sales returns up to max sales with ids below before (0: from the newest),
// newest first.
func (s *Store) Sales(ctx context.Context, before seckill.SaleID, max int) (sales []seckill.Sale, err error) {
	if before == 0 {
		before = 1<<63 - 1
	}
	return s.sales(ctx, "id < ? AND shelf <> 'deleted' ORDER BY id DESC LIMIT ?", before, max)
}

const newestSale = "SELECT COALESCE(MAX(id), 0) FROM sales"

// NewestSale returns the highest id of all sales, also of those that are deleted or cannot be
// read: every id above it is no sale. 0: there is none.
func (s *Store) NewestSale(ctx context.Context) (id seckill.SaleID, err error) {
	err = s.ask(ctx, "newest sale", func(t *tx) error {
		return t.one(ctx, newestSale, nil, func(r scanner) error { return r.Scan(&id) })
	})
	return id, err
}

// Section returns up to max sales from the place on, in the order of its section. It is
// Sale.SectionAt in SQL; testdata/sections.txt is the table of cases that holds for both. Each
// branch walks one index, from the place's moment or from its time.
func (s *Store) Section(ctx context.Context, p seckill.Place, max int) ([]seckill.Sale, error) {
	at, key := ms(p.At), ms(p.Time)
	seen := "shelf = '' AND "
	if p.All {
		seen = "shelf <> 'deleted' AND "
	}
	switch p.Section {
	case seckill.SectionOpen:
		return s.sales(ctx, seen+`closes_at > ? AND closes_at >= ? AND (closes_at > ? OR id > ?) AND opens_at <= ? AND ended = 0 AND sold < total
			ORDER BY closes_at, id LIMIT ?`, at, key, key, p.ID, at, max)
	case seckill.SectionSoon:
		return s.sales(ctx, seen+`opens_at > ? AND opens_at >= ? AND (opens_at > ? OR id > ?) AND ended = 0
			ORDER BY opens_at, id LIMIT ?`, at, key, key, p.ID, max)
	}
	if p.ID == 0 { // from the beginning
		key = math.MaxInt64
	}
	return s.sales(ctx, seen+`closes_at <= ? AND (closes_at < ? OR id < ?) AND (closes_at <= ? OR ended = 1 OR opens_at <= ? AND sold >= total)
		ORDER BY closes_at DESC, id DESC LIMIT ?`, key, key, p.ID, at, at, max)
}

// Unapplied returns the sales whose newest version the gate has not confirmed.
func (s *Store) Unapplied(ctx context.Context) ([]seckill.Sale, error) {
	return s.sales(ctx, "applied < version ORDER BY id LIMIT 1000")
}

func (s *Store) sales(ctx context.Context, where string, args ...any) (sales []seckill.Sale, err error) {
	err = s.ask(ctx, "sales", func(t *tx) error {
		sales, err = readable(ctx, t, "sales", "SELECT "+saleColumns+" FROM sales WHERE "+where, args, t.scanSale)
		return err
	})
	return sales, err
}

// UpdateSale applies change to the sale and gives it the next version. Total
// and Sold are not changed here: units move through stock moves and tickets.
// When change returns an error nothing is written.
func (s *Store) UpdateSale(ctx context.Context, id seckill.SaleID, change func(*seckill.Sale) error) (sale seckill.Sale, err error) {
	err = s.writeAccess(ctx, "update sale", func(t *tx) error {
		if sale, err = t.lockSale(ctx, id); err != nil {
			return err
		}
		before := sale
		if err := change(&sale); err != nil {
			return err
		}
		sale.Version++
		if err := t.keepTitle(ctx, before, sale); err != nil {
			return err
		}
		for _, version := range []seckill.Sale{before, sale} { // the one before too: a node of an earlier version that made the sale has not kept its terms, see widest
			if err := t.widen(ctx, version); err != nil {
				return err
			}
		}
		// Rules that cannot be read stay as they are until somebody sets others.
		_, err := t.exec(ctx, `UPDATE sales SET title = ?, description = ?, image = ?, price = ?, list_price = ?, currency = ?, limit_per_buyer = ?,
			opens_at = ?, closes_at = ?, hold_seconds = ?, paused = ?, ended = ?, version = ?, access = CASE WHEN ? THEN access ELSE ? END, shelf = ?, notice = ? WHERE id = ?`,
			sale.Title, sale.Description, sale.Image, sale.Price, sale.ListPrice, sale.Currency, sale.LimitPerBuyer,
			ms(sale.OpensAt), ms(sale.ClosesAt), sale.HoldSeconds, sale.Paused, sale.Ended, sale.Version, sale.Access.Unreadable, accessText(sale.Access), sale.Shelf, sale.Notice, id)
		if err == nil && (sale.Access != before.Access || sale.Access != (seckill.Access{})) {
			err = t.touch(ctx, rulesState)
		}
		if err == nil && before.LatePayment != sale.LatePayment {
			err = t.late(ctx, id, sale.LatePayment)
		}
		if err != nil {
			return err
		}
		return t.logged(ctx, "", id, "", logSale{before, before.Paused, before.Ended, before.Version}, logSale{sale, sale.Paused, sale.Ended, sale.Version})
	})
	return sale, err
}

// logSale is a sale in the log: with what its JSON does not tell buyers.
type logSale struct {
	seckill.Sale
	Paused  bool  `json:"paused"`
	Ended   bool  `json:"ended"`
	Version int64 `json:"version"`
}

// keepTitle keeps the old title and image for orders that were bought under them.
// Of several changes between two settled tickets the first one counts.
func (t *tx) keepTitle(ctx context.Context, before, after seckill.Sale) error {
	if before.Seq == 0 || before.Title == after.Title && before.Image == after.Image {
		return nil
	}
	err := t.one(ctx, "SELECT 1 FROM titles WHERE sale = ? AND seq = ?", []any{before.ID, before.Seq}, func(scanner) error { return nil })
	if err == seckill.ErrNotFound {
		_, err = t.exec(ctx, "INSERT INTO titles (sale, seq, title, image) VALUES (?, ?, ?, ?)", before.ID, before.Seq, before.Title, before.Image)
	}
	return err
}

// lockSale reads a sale that nobody else changes until the transaction ends.
// Every transaction that changes the sale's tickets, returns or moves also
// writes or locks this row before it commits; whoever holds it sees all of
// them as of one moment.
func (t *tx) lockSale(ctx context.Context, id seckill.SaleID) (sale seckill.Sale, err error) {
	err = t.one(ctx, "SELECT "+saleColumns+" FROM sales WHERE id = ?"+t.lock, []any{id}, func(r scanner) (err error) {
		sale, err = t.scanSale(r)
		return err
	})
	return sale, err
}

// Applied notes that the gate has the version in force.
func (s *Store) Applied(ctx context.Context, id seckill.SaleID, version int64) error {
	return s.write(ctx, "applied", func(t *tx) error {
		_, err := t.exec(ctx, "UPDATE sales SET applied = ? WHERE id = ? AND applied < ?", version, id, version)
		return err
	})
}

// BeginMove writes a stock move, or finds the one of the same id. Growth raises
// the total here and now; the gate follows. Shrinking asks the gate first, and
// lowers the total in FinishMove. The same id with another delta is an error
// that wraps seckill.ErrState.
func (s *Store) BeginMove(ctx context.Context, m seckill.Move) (seckill.Move, error) {
	err := s.write(ctx, "stock move", func(t *tx) error {
		sale, err := t.lockSale(ctx, m.Sale)
		if err != nil {
			return err
		}
		m.Epoch, m.Done = sale.Epoch, false
		err = t.one(ctx, "SELECT delta, done FROM moves WHERE sale = ? AND id = ?", []any{m.Sale, m.ID}, func(r scanner) error {
			var delta int64
			if err := r.Scan(&delta, &m.Done); err != nil {
				return err
			}
			if delta != m.Delta {
				return fmt.Errorf("stock move %q was made with delta %d: %w", m.ID, delta, seckill.ErrState)
			}
			return nil
		})
		if err != seckill.ErrNotFound {
			return err
		}
		if err := m.Fits(sale.Total); err != nil {
			return err
		}
		if m.Delta > 0 {
			if _, err := t.exec(ctx, "UPDATE sales SET total = total + ? WHERE id = ?", m.Delta, m.Sale); err != nil {
				return err
			}
			if err := t.enterMove(ctx, m); err != nil {
				return err
			}
		}
		if _, err = t.exec(ctx, "INSERT INTO moves (sale, id, delta) VALUES (?, ?, ?)", m.Sale, m.ID, m.Delta); err != nil {
			return err
		}
		result := seckill.LogDone
		if m.Delta < 0 {
			result = seckill.LogBegun // until the gate has decided
		}
		return t.loggedAs(ctx, result, moveLogged, m.Sale, m.ID, logTotal{sale.Total}, logTotal{sale.Total + m.Delta})
	})
	return m, err
}

// FinishMove notes what the gate decided about the move: applied, or refused for
// want of units (then the move is forgotten). It returns false when the gate was
// rebuilt since the move was read: then that gate must be asked.
func (s *Store) FinishMove(ctx context.Context, m seckill.Move, applied bool) (done bool, err error) {
	err = s.write(ctx, "finish stock move", func(t *tx) error {
		done = false
		sale, err := t.lockSale(ctx, m.Sale)
		if err != nil || sale.Epoch != m.Epoch {
			return err
		}
		done = true
		if !applied {
			if _, err := t.exec(ctx, "DELETE FROM moves WHERE sale = ? AND id = ? AND done = 0 AND delta < 0", m.Sale, m.ID); err != nil {
				return err
			}
			return t.ended(ctx, moveLogged, m.Sale, m.ID, "stock")
		}
		n, err := t.exec(ctx, "UPDATE moves SET done = 1 WHERE sale = ? AND id = ? AND done = 0", m.Sale, m.ID)
		if err != nil || n == 0 || m.Delta > 0 {
			return err
		}
		if _, err = t.exec(ctx, "UPDATE sales SET total = total + ? WHERE id = ?", m.Delta, m.Sale); err != nil {
			return err
		}
		if err := t.ended(ctx, moveLogged, m.Sale, m.ID, seckill.LogDone); err != nil {
			return err
		}
		return t.enterMove(ctx, m)
	})
	return done && err == nil, err
}

// moveLogged is what the log calls a stock move.
const moveLogged = "sales.stock"

type logTotal struct {
	Total int64 `json:"total"`
}

// enterMove notes in the ledger that units have joined or left the total.
func (t *tx) enterMove(ctx context.Context, m seckill.Move) error {
	now, err := t.clock(ctx)
	if err != nil {
		return err
	}
	return t.enter(ctx, now, seckill.Entry{Sale: m.Sale, What: entryStock, Units: m.Delta, Who: cmp.Or(m.By, "administrator"), Why: m.ID})
}

// OpenMoves returns the moves that have not been finished. Those of a deleted sale never will
// be: its gate may be gone for good.
func (s *Store) OpenMoves(ctx context.Context) (moves []seckill.Move, err error) {
	err = s.ask(ctx, "open moves", func(t *tx) error {
		moves, err = readable(ctx, t, "moves", "SELECT m.sale, m.id, m.delta, s.epoch FROM moves m JOIN sales s ON s.id = m.sale WHERE m.done = 0 AND s.shelf <> 'deleted' LIMIT 1000", nil, func(r scanner) (m seckill.Move, err error) {
			err = r.Scan(&m.Sale, &m.ID, &m.Delta, &m.Epoch)
			return m, err
		})
		return err
	})
	return moves, err
}
