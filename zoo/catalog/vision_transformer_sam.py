"""Rows of the image encoders of Segment Anything (SAM, arXiv:2304.02643, section A), and one for classification.

Rows only; the network is zoo/models/vision_transformer_sam.py.
"""
from ..spec import Family

UNPUBLISHED = dict(size=224, crop_pct=0.9, num_classes=1000, license=None, hf_hub_id=None)

FAMILIES = (Family(
    model='vision_transformer_sam.VisionTransformerSAM',
    args=dict(use_rel_pos=True),
    data=dict(size=1024, fixed_input_size=True, crop_pct=1.0, num_classes=0, first_conv='patch_embed.proj',
              classifier='head.fc', license='apache-2.0'),
    variants={
        'samvit_base_patch16': dict(global_attn_indexes=(2, 5, 8, 11)),
        'samvit_base_patch16_224': dict(global_attn_indexes=(2, 5, 8, 11), use_abs_pos=False, img_size=224,
            neck_chans=None),
        'samvit_huge_patch16': dict(embed_dim=1280, depth=32, num_heads=16, global_attn_indexes=(7, 15, 23, 31)),
        'samvit_large_patch16': dict(embed_dim=1024, depth=24, num_heads=16, global_attn_indexes=(5, 11, 17, 23)),
    },
    weights={
        'samvit_base_patch16.sa1b': dict(),
        'samvit_huge_patch16.sa1b': dict(),
        'samvit_large_patch16.sa1b': dict(),
        **dict.fromkeys(('samvit_base_patch16_224',), UNPUBLISHED),
    },
),)
