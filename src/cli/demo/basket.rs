//! What a basket of the shop's costs: honest work of a known shape, so that a profile has something to find.
//!
//! In: an item, and how many lines the basket has. Out: a price. [`price_basket`] calls [`apply_discounts`], which calls
//! [`checksum_of_basket`] anew for each coupon, where once would do: the hot function. Not here: HTTP, and who buys (`services`).

/// Lines of nearly every basket: tens of microseconds in a release build.
pub(super) const LINES: u64 = 24;
/// Lines of a wholesale basket: one to two milliseconds.
pub(super) const WHOLESALE_LINES: u64 = 1200;
/// Coupons that are tried on each basket. Each that fits takes one per cent off, so that less than half can be lost.
const COUPONS: u64 = 48;
const FITS_ONE_IN: u64 = 8;
/// The basis and the prime of the 64-bit hash of Fowler, Noll and Vo, FNV-1a.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

struct Line {
    article: u64,
    cents: u64,
}

/// The price in cents, less what the coupons take off.
#[inline(never)]
pub(super) fn price_basket(item: &str, lines: u64) -> u64 {
    let basket = fill_basket(item, lines);
    apply_discounts(&basket, basket.iter().map(|line| line.cents).sum())
}

#[inline(never)]
fn apply_discounts(basket: &[Line], full: u64) -> u64 {
    let fitting = (0..COUPONS).filter(|coupon| fits(checksum_of_basket(basket, *coupon))).count() as u64;
    full - full * fitting / 100
}

/// By the upper half: the lowest bits of this hash depend on nothing but the lowest bits of what went in.
fn fits(checksum: u64) -> bool {
    (checksum >> 32).is_multiple_of(FITS_ONE_IN)
}

#[inline(never)]
fn checksum_of_basket(basket: &[Line], coupon: u64) -> u64 {
    let mut hash = fnv(FNV_BASIS, coupon);
    for line in basket {
        hash = fnv(fnv(hash, line.article), line.cents);
    }
    hash
}

/// The item itself and what goes with it; the same each time.
fn fill_basket(item: &str, lines: u64) -> Vec<Line> {
    let first = item.bytes().fold(FNV_BASIS, |hash, byte| fnv(hash, u64::from(byte)));
    let line = |number| {
        let article = fnv(first, number);
        Line { article, cents: 100 + article % 900 }
    };
    (0..lines).map(line).collect()
}

fn fnv(hash: u64, word: u64) -> u64 {
    word.to_le_bytes().into_iter().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basket_costs_the_same_each_time_and_never_more_than_its_lines() {
        for (item, lines) in [("7", LINES), ("7", WHOLESALE_LINES), ("a longer name", LINES), ("", LINES)] {
            let price = price_basket(item, lines);
            let full: u64 = fill_basket(item, lines).iter().map(|line| line.cents).sum();
            assert_eq!(price, price_basket(item, lines));
            assert!(price <= full && price > full / 2, "{price} of {full}");
        }
        assert_eq!(price_basket("7", 0), 0);
    }

    #[test]
    fn some_coupons_fit_and_others_do_not() {
        let fitting = |item: u64| {
            let basket = fill_basket(&item.to_string(), LINES);
            (0..COUPONS).filter(|coupon| fits(checksum_of_basket(&basket, *coupon))).count()
        };
        let all: usize = (0..100).map(fitting).sum();
        assert!((400..800).contains(&all), "{all} of {}, where one in {FITS_ONE_IN} should", 100 * COUPONS);
    }

    #[test]
    fn the_checksum_is_fnv_1a() {
        // Of the letter a: the published value.
        assert_eq!((FNV_BASIS ^ u64::from(b'a')).wrapping_mul(FNV_PRIME), 0xaf63_dc4c_8601_ec8c);
        let basket = [Line { article: 1, cents: 0x0203 }];
        assert_eq!(checksum_of_basket(&basket, 5), 0xa3df_d768_c787_4bcc);
    }
}
