//! arm64: nothing is called there that the fix added. But the fix took `access_ok` out, which strips tags
//! from an address first, and left the plain comparison with the limit (`__access_ok`).
//!
//! `access_ok` (arch/arm64/include/asm/uaccess.h) with CONFIG_ARM64_TAGGED_ADDR_ABI, which is the default:
//! `addr &= sign_extend64(addr, 55)`. That is a sign extension of 56 bits, or a test of bit 55.

use crate::kernel_config::{State, option};
use stacksonde_plugin::Verdict;

/// Tells whether a kernel of this configuration strips tags in `access_ok`; `None` if the configuration does not say.
pub fn tags_addresses(options: &str) -> Option<bool> {
    match option(options, "CONFIG_ARM64_TAGGED_ADDR_ABI") {
        State::On => Some(true),
        State::Off => Some(false),
        State::Unmentioned => None,
    }
}

/// Judges the code of `copy_from_user_nofault`. `tags`: [`tags_addresses`], where the configuration is known.
pub fn judge(code: &[u8], tags: Option<Option<bool>>) -> Verdict {
    let words: Vec<u32> = code.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    if let Some(at) = words.iter().position(|word| strips_tags(*word)) {
        return Verdict::Affected {
            evidence: format!(
                "it strips tags from the address at +{:#x}, as access_ok did before the fix",
                at * 4
            ),
        };
    }
    if tags == Some(Some(false)) {
        return Verdict::Unproven {
            reason: "without CONFIG_ARM64_TAGGED_ADDR_ABI its code looks the same before and after the fix"
                .into(),
        };
    }
    match (words.iter().position(|word| loads_limit(*word)), words.iter().any(|word| compares(*word))) {
        (Some(at), true) => Verdict::Safe {
            evidence: format!(
                "it compares the address with the limit from +{:#x} on and strips no tags, as since the fix",
                at * 4
            ),
        },
        _ => Verdict::Unproven {
            reason: format!("its {} instructions check addresses in a way that is not known", words.len()),
        },
    }
}

/// `sbfx Xd, Xn, #0, #56`; `and Xd, Xn, Xm, asr #8`; `tbz` and `tbnz Xt, #55`; `tst Xn, #1 << 55`
/// (Arm Architecture Reference Manual, C6.2: SBFM, AND, TBZ, TBNZ, ANDS).
fn strips_tags(word: u32) -> bool {
    word & 0xffff_fc00 == 0x9340_dc00
        || word & 0xffe0_fc00 == 0x8a80_2000
        || (word & 0xfef8_0000 == 0xb6b8_0000)
        || word & 0xffff_fc1f == 0xf249_001f
}

/// `movz Xd, #imm, lsl #32 | #48`, or `mov Xd, #imm` of one bit: a power of two from 2^36 to 2^52, which
/// the end of user space is.
fn loads_limit(word: u32) -> bool {
    let wide = word & 0xff80_0000 == 0xd280_0000;
    let (half, immediate) = (word >> 21 & 3, u64::from(word >> 5 & 0xffff));
    if wide && half >= 2 && immediate.is_power_of_two() {
        return (36..=52).contains(&(immediate.trailing_zeros() + half * 16));
    }
    // `orr Xd, xzr, #imm` of 64 bits with a single bit set: N = 1, imms = 0, bit = 64 - immr.
    let single = word & 0xffc0_ffe0 == 0xb240_03e0;
    single && (36..=52).contains(&(64 - (word >> 16 & 0x3f)))
}

/// `cmp` and `subs` of two 64-bit registers.
fn compares(word: u32) -> bool {
    word & 0xff20_0000 == 0xeb00_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    // `copy_from_user_nofault` before and after the fix, compiled with optimisation from the definitions of
    // Linux 6.1 (access_ok, untagged_addr, __uaccess_mask_ptr, __copy_from_user_inatomic) for VA_BITS = 48.
    const BEFORE_CLANG: &[u32] = &[
        0xa9bd_7bfd,
        0xa901_57f6,
        0x9100_03fd,
        0xa902_4ff4,
        0xaa02_03f3,
        0xaa01_03f4,
        0xd538_4116,
        0x3940_bac8,
        0xaa00_03f5,
        0x3728_0088,
        0xf940_02c9,
        0xaa14_03e8,
        0x36d0_0069,
        0xd378_de88,
        0x8a88_2288,
        0xd2e0_0029,
        0x9280_01a0,
        0xeb09_027f,
        0x5400_02a8,
        0xcb13_0129,
        0xeb08_013f,
        0x5400_0243,
        0xb948_02c8,
        0xaa15_03e0,
        0xaa13_03e1,
        0x2a1f_03e2,
        0x1100_0508,
        0xb908_02c8,
        0x9400_0000,
        0x9248_fa81,
        0xaa15_03e0,
        0xaa13_03e2,
        0x9400_0000,
        0xf100_001f,
        0xb948_02c8,
        0x9280_01a9,
        0x9a89_03e0,
        0x5100_0508,
        0xb908_02c8,
        0xa942_4ff4,
        0xa941_57f6,
        0xa8c3_7bfd,
        0xd65f_03c0,
    ];
    const AFTER_CLANG: &[u32] = &[
        0xa9bd_7bfd,
        0xa901_57f6,
        0x9100_03fd,
        0xa902_4ff4,
        0xaa00_03f4,
        0xd2e0_0028,
        0x9280_01a0,
        0xeb08_005f,
        0x5400_0308,
        0xaa02_03f3,
        0xaa01_03f5,
        0xcb02_0108,
        0xeb01_011f,
        0x5400_0263,
        0xd538_4116,
        0xb948_02c8,
        0xaa14_03e0,
        0xaa13_03e1,
        0x2a1f_03e2,
        0x1100_0508,
        0xb908_02c8,
        0x9400_0000,
        0x9248_faa1,
        0xaa14_03e0,
        0xaa13_03e2,
        0x9400_0000,
        0xf100_001f,
        0xb948_02c8,
        0x9280_01a9,
        0x9a89_03e0,
        0x5100_0508,
        0xb908_02c8,
        0xa942_4ff4,
        0xa941_57f6,
        0xa8c3_7bfd,
        0xd65f_03c0,
    ];
    const BEFORE_GCC: &[u32] = &[
        0xa9bd_7bfd,
        0xd538_4103,
        0x9100_03fd,
        0xb940_2c64,
        0xa901_53f3,
        0xaa01_03f3,
        0xaa02_03f4,
        0xa902_5bf5,
        0xaa00_03f5,
        0x37a8_0464,
        0xaa01_03e0,
        0xf940_0061,
        0x37d0_0401,
        0xd2e0_0021,
        0xeb01_029f,
        0x5400_0308,
        0xcb14_0021,
        0xeb01_001f,
        0x5400_02a8,
        0xd538_4116,
        0xb948_02c0,
        0x1100_0400,
        0xb908_02c0,
        0x5280_0002,
        0xaa14_03e1,
        0xaa15_03e0,
        0x9400_0000,
        0x9248_fa61,
        0xaa14_03e2,
        0xaa15_03e0,
        0x9400_0000,
        0xb948_02c1,
        0x5100_0421,
        0xb908_02c1,
        0xb500_00a0,
        0xa941_53f3,
        0xa942_5bf5,
        0xa8c3_7bfd,
        0xd65f_03c0,
        0xa941_53f3,
        0x9280_01a0,
        0xa942_5bf5,
        0xa8c3_7bfd,
        0xd65f_03c0,
        0x9340_de60,
        0x8a00_0260,
        0x17ff_ffdf,
    ];
    const AFTER_GCC: &[u32] = &[
        0xa9bd_7bfd,
        0x9100_03fd,
        0xa901_53f3,
        0xaa01_03f4,
        0xd2e0_0021,
        0xeb01_005f,
        0x5400_00a8,
        0xcb02_0021,
        0xaa02_03f3,
        0xeb01_029f,
        0x5400_00a9,
        0xa941_53f3,
        0x9280_01a0,
        0xa8c3_7bfd,
        0xd65f_03c0,
        0xa902_5bf5,
        0xaa00_03f5,
        0xd538_4116,
        0xb948_02c1,
        0x1100_0421,
        0xb908_02c1,
        0x5280_0002,
        0xaa13_03e1,
        0x9400_0000,
        0x9248_fa81,
        0xaa13_03e2,
        0xaa15_03e0,
        0x9400_0000,
        0xaa00_03e1,
        0xb948_02c2,
        0xd280_0000,
        0x5100_0442,
        0xb908_02c2,
        0xa942_5bf5,
        0xb5ff_fd21,
        0xa941_53f3,
        0xa8c3_7bfd,
        0xd65f_03c0,
    ];

    #[test]
    fn tells_the_function_before_the_fix_from_the_one_after_it() {
        for (before, after) in [(BEFORE_CLANG, AFTER_CLANG), (BEFORE_GCC, AFTER_GCC)] {
            let verdict = judge(&code(before), None);
            assert!(matches!(verdict, Verdict::Affected { .. }), "{verdict:?}");
            let verdict = judge(&code(after), Some(Some(true)));
            assert!(matches!(verdict, Verdict::Safe { .. }), "{verdict:?}");
        }
    }

    #[test]
    fn neither_shape_proves_nothing() {
        // ret; nop
        for words in [&[][..], &[0xd65f_03c0, 0xd503_201f]] {
            assert!(matches!(judge(&code(words), None), Verdict::Unproven { .. }));
        }
    }

    #[test]
    fn without_tags_the_two_cannot_be_told_apart() {
        assert!(matches!(judge(&code(AFTER_CLANG), Some(Some(false))), Verdict::Unproven { .. }));
        assert_eq!(tags_addresses("CONFIG_ARM64_TAGGED_ADDR_ABI=y\n"), Some(true));
        assert_eq!(tags_addresses("# CONFIG_ARM64_TAGGED_ADDR_ABI is not set\n"), Some(false));
        assert_eq!(tags_addresses(""), None);
    }

    #[test]
    fn knows_each_instruction_that_matters_and_its_neighbours_not() {
        for word in [0x9340_dc22, 0x8a88_2288, 0xb6b8_0041, 0xb7b8_0041, 0xf249_003f] {
            assert!(strips_tags(word), "{word:#x}");
        }
        // sbfx #0, #55; sxtw; tbz w, #23; tbz x, #54; tst #1 << 54; ands with a result
        for word in [0x9340_d822, 0x9340_7c22, 0x36b8_0041, 0xb6b0_0041, 0xf24a_003f, 0xf249_0021] {
            assert!(!strips_tags(word), "{word:#x}");
        }
        // mov x3, #0x1000000000000; mov x3, #0x8000000000; mov x3, #0x10000000000000
        for word in [0xd2e0_0023, 0xd2c0_1003, 0xd2e0_0203, 0xb250_03e3] {
            assert!(loads_limit(word), "{word:#x}");
        }
        for word in [0xd280_0023, 0xd2a0_0023, 0xd2e0_0063, 0xd2e0_2003] {
            assert!(!loads_limit(word), "{word:#x}");
        }
        assert!(compares(0xeb03_003f) && !compares(0xcb03_003f));
    }
}
