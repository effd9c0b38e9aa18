REQUIREMENTS = ("litdata==0.2.76",)
