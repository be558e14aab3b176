package seckill

import (
	"fmt"
	"time"
)

// Provider names who takes and gives back the money of an order.
type Provider = string

// The providers.
const (
	ProviderTest   Provider = "test"   // nobody pays: whoever asks has paid
	ProviderShop   Provider = "shop"   // the shop's own server says what was paid
	ProviderStripe Provider = "stripe" // Stripe Checkout
)

// CallbackType is what a provider tells.
type CallbackType string

// The types of callbacks.
const (
	Captured   CallbackType = "captured" // the provider has the money
	Failed     CallbackType = "failed"   // the payment came to nothing
	GivenBack  CallbackType = "refunded" // the money went back to the buyer
	Bounced    CallbackType = "bounced"  // a refund did not reach the buyer: the money is the provider's again
	Disputed   CallbackType = "disputed" // the buyer takes the money back through the bank
	Irrelevant CallbackType = ""         // a verified message that changes nothing here
)

// Callback is what a provider says about a payment, verified to come from it. All
// of it may still be a mistake or a lie: an order is compared with it before
// anything changes.
type Callback struct {
	Provider  Provider     `json:"-"`
	Event     string       `json:"event"` // the provider's id of this message; a repeat carries the same one
	Type      CallbackType `json:"type"`
	Order     string       `json:"order"`
	Reference string       `json:"reference"`        // the provider's id of the payment, or of our refund
	Refund    string       `json:"refund,omitempty"` // our id of the refund, where the provider keeps it
	Own       string       `json:"-"`                // the provider's own id of the refund, where it has one
	Session   string       `json:"-"`                // the provider's own name of the checkout, see Checkout.Session
	Amount    int64        `json:"amount"`           // minor units
	Currency  string       `json:"currency"`
	At        time.Time    `json:"at"`
}

// Printable reports whether s is text without control characters.
func Printable(s string) bool { return printable(s, "") }

// Limits of a callback.
const (
	MaxReference = 200 // bytes of a provider's ids
	MaxReason    = 200 // characters of the reason of a refund
)

// Validate checks what a callback may say. The error is a *FieldError.
func (c *Callback) Validate() error {
	name := func(s string) bool { return s != "" && len(s) <= MaxReference && printable(s, "") }
	switch {
	case !name(c.Event):
		return &FieldError{"event", fmt.Sprintf("must be 1 to %d printable bytes", MaxReference)}
	case c.Type != Captured && c.Type != Failed && c.Type != GivenBack && c.Type != Bounced && c.Type != Disputed:
		return &FieldError{"type", "must be captured, failed, refunded, bounced or disputed"}
	case !name(c.Order):
		return &FieldError{"order", fmt.Sprintf("must be 1 to %d printable bytes", MaxReference)}
	case !name(c.Reference):
		return &FieldError{"reference", fmt.Sprintf("must be 1 to %d printable bytes", MaxReference)}
	case c.Refund != "" && !name(c.Refund):
		return &FieldError{"refund", fmt.Sprintf("must be at most %d printable bytes", MaxReference)}
	case c.Amount < 0 || c.Amount > MaxPrice*MaxQuantity || c.Amount == 0 && c.Type != Failed:
		return &FieldError{"amount", fmt.Sprintf("must be 1 to %d minor units", MaxPrice*MaxQuantity)}
	case len(c.Currency) != 3 || !printable(c.Currency, ""):
		return &FieldError{"currency", "must be an ISO 4217 code such as CNY"}
	}
	return nil
}

// PaymentState says whose the money of a payment is.
type PaymentState string

// The states of a payment.
const (
	PaymentKept     PaymentState = "kept"     // a paid order holds it, less what its refunds give back
	PaymentLate     PaymentState = "late"     // its order had ended; units for it are being asked for
	PaymentReturned PaymentState = "returned" // no order holds it: a refund of the whole is due or done
	PaymentAside    PaymentState = "aside"    // it fits no order: a person decides
)

// Payment is money that a provider took.
type Payment struct {
	Provider  Provider     `json:"provider"`
	Event     string       `json:"event"`
	Reference string       `json:"reference"`
	Order     string       `json:"order"`
	Sale      SaleID       `json:"-"`
	Buyer     string       `json:"-"`
	Quantity  int          `json:"-"`
	Amount    int64        `json:"amount"`
	Currency  string       `json:"currency"`
	State     PaymentState `json:"state"`
	Note      string       `json:"note,omitempty"`
	At        time.Time    `json:"at"`      // by the provider
	SeenAt    time.Time    `json:"seen_at"` // by the store's clock
}

// RefundState says how far a refund is.
type RefundState string

// The states of a refund.
const (
	RefundDue  RefundState = "due"  // the provider is asked until it confirms
	RefundDone RefundState = "done" // the provider has confirmed

	// Of what a provider told and nobody here has asked for: the payment is not known.
	RefundEarly   RefundState = "early"   // it waits for its payment
	RefundForeign RefundState = "foreign" // a person says that there will be none
)

// Refund is money that goes back, with its reason. Its id is ours and stays the
// same however often the provider is asked.
type Refund struct {
	ID        string      `json:"id"`
	Order     string      `json:"order"`
	Sale      SaleID      `json:"-"`
	Provider  Provider    `json:"provider"`
	Reference string      `json:"reference"` // of the payment
	Amount    int64       `json:"amount"`
	Currency  string      `json:"currency"`
	Units     int         `json:"units"`   // that the order gives up
	Restock   bool        `json:"restock"` // they are sold again
	Reason    string      `json:"reason,omitempty"`
	By        string      `json:"by"`
	State     RefundState `json:"state"`
	MadeAt    time.Time   `json:"made_at"`
	DoneAt    *time.Time  `json:"done_at,omitempty"`
	Tries     int         `json:"tries"`
	Error     string      `json:"error,omitempty"` // of the last try
	Given     string      `json:"given,omitempty"` // the provider's own id of it once it is done, or ByHand
}

// ByHand is the Given of a refund that a person gave back by another way than the provider.
const ByHand = "by hand"

// Checkout is a payment that was started for an order and has no end yet.
type Checkout struct {
	ID  string `json:"id"`
	URL string `json:"url"` // where the buyer pays

	Session string `json:"-"` // the provider's own name of it, where it can be ended there
}

// Entry is one line of the ledger: a change of an order, of stock or of money. It is
// written in the transaction of the change and never changed.
type Entry struct {
	ID       int64     `json:"id,string"`
	At       time.Time `json:"at"`
	Order    string    `json:"order,omitempty"`
	Sale     SaleID    `json:"sale,omitempty"`
	What     string    `json:"what"`
	Units    int64     `json:"units,omitempty"`
	Amount   int64     `json:"amount,omitempty"`
	Currency string    `json:"currency,omitempty"`
	Who      string    `json:"who"`
	Why      string    `json:"why,omitempty"`
}

// End is where the money of a captured payment goes.
type End uint8

// The ends of a captured payment.
const (
	EndPays   End = iota // it pays the order
	EndSecond            // the order was paid already: it goes back
	EndLate              // the order has ended: units again, or it goes back
	EndAside             // it is not what the order costs
)

// Take decides what becomes of money that was captured for the order. An unpaid
// order is paid by it even after ExpiresAt: as long as nobody has ended the order it
// holds its units, and nothing is gained by sending the money back.
func (o *Order) Take(amount int64, currency string) (end End, note string) {
	switch {
	case currency != o.Currency:
		return EndAside, fmt.Sprintf("paid in %s, the order is in %s", currency, o.Currency)
	case amount != o.Amount:
		return EndAside, fmt.Sprintf("%d was paid, the order costs %d", amount, o.Amount)
	case o.State == Unpaid:
		return EndPays, ""
	case o.State == Paid:
		return EndSecond, "second payment"
	}
	return EndLate, "late payment: the order was " + string(o.State)
}

// Money is the audit of money in one currency. All numbers are minor units.
//
//	Captured − Refunded = Held + Due + Late + Aside
type Money struct {
	Currency string `json:"currency"`
	Captured int64  `json:"captured"` // by providers
	Refunded int64  `json:"refunded"` // confirmed by providers
	Held     int64  `json:"held"`     // what paid orders hold, counted from the orders
	Due      int64  `json:"due"`      // on its way back
	Late     int64  `json:"late"`     // of ended orders for which units are asked for
	Aside    int64  `json:"aside"`    // put aside for a person
}

// Unexplained is the money that nothing accounts for, 0 when all is well.
func (m Money) Unexplained() int64 {
	return m.Captured - m.Refunded - m.Held - m.Due - m.Late - m.Aside
}

// RefundRequest is what an administrator gives back of an order.
type RefundRequest struct {
	ID    string // a repeat of the same id is the same refund; empty for a whole one
	Order string

	// Amount is minor units, Units are those that the order gives up. Without either
	// all of it goes back and the order is refunded; units alone give back what they
	// cost.
	Amount *int64
	Units  *int
	// Restock puts the units back on sale. Without it they leave the sale's total.
	Restock bool
	Reason  string
	By      string

	// Payment is the reference of one that was put aside: it goes back whole, and the
	// order stays as it is.
	Payment string
}

// Received is what a callback changed.
type Received struct {
	Repeat   bool // the message was known: nothing changes
	Paid     bool
	Late     bool // units are to be asked for, see LatePayments
	Due      bool // a refund is due, see DueRefunds
	Aside    bool // put aside: a person must look
	Conflict bool
	Undone   bool // a refund came back or a payment is disputed: a person must look
	Returned bool // units are on their way back
	Note     string
}

// PaymentFilter says which payments are wanted; empty fields want all.
type PaymentFilter struct {
	Order    string
	State    PaymentState
	Provider Provider
	Before   PaymentCursor // those that were seen before this one
	Max      int
}

// PaymentCursor is a place in the list of payments.
type PaymentCursor struct {
	SeenAt    time.Time
	Reference string
}

// RefundFilter says which refunds are wanted; empty fields want all.
type RefundFilter struct {
	State    RefundState
	Provider Provider
	Before   RefundCursor // those that were made before this one
	Max      int
}

// RefundCursor is a place in the list of refunds.
type RefundCursor struct {
	MadeAt time.Time
	ID     string
}

// MoneyState says what waits for somebody: how much money is put aside, in how many
// payments, and since when the oldest refund has been due.
type MoneyState struct {
	Aside       int64 // payments
	Late        int64 // payments
	Due         int64 // refunds
	OldestDue   time.Time
	OldestEarly time.Time // when the oldest refund was told whose payment nobody has told of
	Now         time.Time // by the store's clock
}

// Booking is one line of the books: money that came, or that went back, at its own
// moment.
type Booking struct {
	At        time.Time `json:"at"`
	Kind      string    `json:"kind"` // payment or refund
	Provider  Provider  `json:"provider"`
	Reference string    `json:"reference"` // of the payment
	Refund    string    `json:"refund,omitempty"`
	Order     string    `json:"order"`
	Amount    int64     `json:"amount"` // a refund's is negative
	Currency  string    `json:"currency"`
	State     string    `json:"state"` // what has become of the payment; a refund's is done
}

// OrderFilter says which orders an administrator wants; empty fields want all.
type OrderFilter struct {
	Order   string // its id
	Buyer   string
	Sale    SaleID
	State   OrderState
	Payment string // a provider's reference
	Before  string // an order's id
	Max     int
}
