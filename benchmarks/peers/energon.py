REQUIREMENTS = ("megatron-energon==7.4.1",)
